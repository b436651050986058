"""Every route of the User API against the real server: statuses, headers and each field of each answer with its type, in both body forms that clients send."""

import json
import re
import unittest

from nhtest import ServerCase

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Bodies(ServerCase):
    """What a request says, however it says it."""

    def make(self, text, status=201, path="", headers=FORM):
        return self.server.api("POST", f"{self.product_path}/devices{path}", text.encode(), headers=headers, expect=status)

    def test_forms_nest(self):
        device = self.make("device[identifier]=form-1&device[tags][]=a&device[tags][]=b&device[description]=two+words%21").data
        self.assertEqual((device["identifier"], device["tags"], device["description"]), ("form-1", ["a", "b"], "two words!"))
        self.assertEqual(self.make("identifier=form-2&tags=a,b").data["tags"], ["a", "b"])

    def test_malformed_forms(self):
        for text in ("a=1&a[b]=2", "a[b]=1&a=2", "a[b][c][d][e][f]=1", "a[b=1&c]d]=2&e[f]g]=3", "a[]=1&a[b]=2", "a=%zz", "a=%ff", "a[][b]=1"):
            with self.subTest(text):
                self.assertIn("detail", self.make(text, 400).json["errors"])

    def test_path_before_body_before_query(self):
        body = json.dumps({"identifier": "of-body", "description": "of body"}).encode()
        kind = {"Content-Type": "application/json"}
        made = self.server.api("POST", f"{self.product_path}/devices/of-path?identifier=of-query&description=q&tags=of-query", body, headers=kind, expect=201).data
        self.assertEqual((made["identifier"], made["description"], made["tags"]), ("of-path", "of body", ["of-query"]))

    def test_method_in_the_body(self):
        self.make("identifier=meth-1")
        changed = self.make("_method=put&description=changed", 201, "/meth-1").data
        self.assertEqual(changed["description"], "changed")
        # a path without any POST of its own
        product = self.server.api("POST", self.product_path, {"_method": "PATCH", "require_unique_firmware_version": False}, expect=200)
        self.assertFalse(product.data["require_unique_firmware_version"])
        self.make("_method=DELETE", 204, "/meth-1")
        self.server.api("GET", f"{self.product_path}/devices/meth-1", expect=404)
        for method in ("GET", "TRACE", "", "put%20"):
            self.server.api("POST", self.product_path, f"_method={method}".encode(), headers=FORM, expect=404)
        self.server.api("POST", f"{self.product_path}?_method=DELETE", b"a=1", headers=FORM, expect=404)
        self.server.api("GET", self.product_path, expect=200)

    def test_head(self):
        whole = self.server.api("GET", "/users/me", expect=200)
        head = self.server.api("HEAD", "/users/me", expect=200)
        self.assertEqual((head.body, head.headers["content-type"], head.headers["content-length"]), (b"", whole.headers["content-type"], str(len(whole.body))))


if __name__ == "__main__":
    unittest.main()
