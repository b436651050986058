/*
 * Settings as people and programs see them: JSON on one side, an Erlang map in external term format on the other.
 *
 * JSON strings are binaries; atoms are strings that begin with ':' (":name"), a string that begins with ':' or '\' itself gets a '\' in front; true, false, null are the atoms true, false, nil.
 * What JSON cannot say (tuples, integers over 64 bit, bytes that are not UTF-8, other keys than strings and atoms, improper lists, bit strings) is an object with one key that begins with '$': {"$tuple": […]},
 * {"$integer": "123…"}, {"$bytes": "base64"}, {"$map": [[key, value]…]}, {"$list": […, tail]}, {"$bits": ["base64", bits]}.
 * A map with such a key is written as {"$map": …} itself, so that everything comes back as it was.
 *
 * thread: any.  source: reference/nerveskey "10"
 */
#pragma once

#include "base/buf.h"

/* nh_nerveskey_settings_to_json - appends. bytes: as read from the chip, zeros behind the term ignored. NH_ENOTFOUND: all zeros, nothing stored; NH_EFORMAT: not decodable (written by something else, or a write was
 * interrupted); NH_EUNSUPPORTED: terms that are no data (pids, funs), compressed ones, lists in two pieces, integers over 1024 bytes. */
nh_rc nh_nerveskey_settings_to_json(nh_slice bytes, bool pretty, struct nh_buf *out, struct nh_err *err);
/* nh_nerveskey_settings_from_json - appends the term. NH_EFORMAT: not JSON; NH_EINVAL: not an object, or an escape form used wrongly (says where). Atoms are written with tag 100 where ASCII (every Erlang reads it), else 118/119. */
nh_rc nh_nerveskey_settings_from_json(nh_slice json, struct nh_buf *out, struct nh_err *err);
