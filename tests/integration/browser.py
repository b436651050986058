"""A browser without scripts, as far as the server's own pages need one: cookies, forms as they stand in the page, redirects; and the mails that a server wrote into its folder. It holds every
page to what all of them promise: headers, no script, nothing from elsewhere."""

import email
import email.policy
import html.parser
import http.client
import re
import time
import urllib.parse

import nhtest


class Form:
    def __init__(self, attributes):
        self.action, self.method, self.fields = attributes.get("action"), attributes.get("method"), {}


class Page(html.parser.HTMLParser):
    """Forms with their hidden and given values, the text, the links."""

    def __init__(self, status, headers, body, path):
        super().__init__()
        self.status, self.headers, self.path = status, headers, path
        self.source, self.forms, self.links, self.pieces, self.tags = body.decode(), [], [], [], set()
        self.feed(self.source)
        self.text = " ".join(" ".join(self.pieces).split())

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.add(tag)
        if tag == "form":
            self.forms.append(Form(attributes))
        elif tag == "input" and self.forms:
            if attributes.get("type") != "checkbox" or "checked" in attributes:
                self.forms[-1].fields[attributes["name"]] = attributes.get("value", "")
        elif tag == "a":
            self.links.append(attributes["href"])

    def handle_data(self, data):
        self.pieces.append(data)

    def form(self, action):
        return next(f for f in self.forms if f.action == action)


class Browser:
    def __init__(self, server, agent="Test Browser 1.0"):
        self.server, self.agent, self.cookies = server, agent, {}
        self.seen = []  # Set-Cookie lines

    def request(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.server.web_port, timeout=nhtest.DEADLINE)
        all_headers = {"User-Agent": self.agent, "Host": f"localhost:{self.server.web_port}", **(headers or {})}
        if self.cookies:
            all_headers["Cookie"] = "; ".join(f"{k}={v}" for k, v in self.cookies.items())
        connection.request(method, path, body=body, headers=all_headers)
        answer = connection.getresponse()
        content = answer.read()
        for line in answer.headers.get_all("Set-Cookie") or []:
            self.seen.append(line)
            name, value = line.split(";")[0].split("=", 1)
            if "Max-Age=0" in line:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value
        connection.close()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, content

    def follow(self, status, headers, content, path):
        for _ in range(5):
            if status != 303:
                break
            path = headers["location"]
            assert path.startswith("/") and not path.startswith("//"), path
            status, headers, content = self.request("GET", path)
        page = Page(status, headers, content, path)
        check_promises(page)
        return page

    def get(self, path):
        return self.follow(*self.request("GET", path), path)

    def post(self, path, fields, headers=None):
        body = urllib.parse.urlencode(fields)
        return self.follow(*self.request("POST", path, body, {"Content-Type": "application/x-www-form-urlencoded", **(headers or {})}), path)

    def send(self, page, action, **fields):
        """The page's form, filled in; every field must be there."""
        form = page.form(action)
        missing = set(fields) - set(form.fields) - {"remember"}
        assert not missing, f"{action} has no field {missing}"
        return self.post(form.action, {**form.fields, **fields})

    def login(self, address, password, **fields):
        return self.send(self.get("/login"), "/login", email=address, password=password, **fields)


def check_promises(page):
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script" not in policy and "unsafe" not in policy, policy
    assert page.headers["cache-control"] == "no-store" and page.headers["x-content-type-options"] == "nosniff" and page.headers["referrer-policy"] == "same-origin"
    assert "script" not in page.tags and "style" not in page.tags and "img" not in page.tags
    assert not re.search(r'(?:src|href|action)="(?:[a-z]+:)?//', page.source.replace('href="otpauth://', "")), "a page loads or leads elsewhere"


class Mails:
    """The folder into which the server writes mails."""

    def __init__(self, folder, process):
        self.folder, self.process, self.read = folder, process, set()

    def next(self, kind, to=None):
        """The next unread mail of a kind: waits for it."""
        deadline = time.monotonic() + nhtest.DEADLINE
        while True:
            for path in sorted(self.folder.glob(f"*-{kind}.eml"), key=lambda p: int(p.name.split("-")[0])):
                message = email.message_from_bytes(path.read_bytes(), policy=email.policy.SMTP)
                if path not in self.read and (to is None or message["To"].addresses[0].addr_spec == to):
                    self.read.add(path)
                    return message
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"no mail of kind {kind} for {to}; there are {sorted(p.name for p in self.folder.glob('*'))}")
            nhtest.select_tick()


def text_of(message):
    return message.get_body(("plain",)).get_content()


def link_of(message):
    """The link's path; the same in both parts."""
    links = [re.search(r"https?://[^/\s\"]+(/\S*?)(?=[\s\"])", message.get_body((part,)).get_content() + "\n")[1] for part in ("plain", "html")]
    assert links[0] == links[1], links
    return links[0]
