"""Databases in MaxMind's format, version 2: a tree of address bits whose leaves point at data. Enough of it for a few networks."""

import ipaddress
import struct

UINT16, UINT32, UINT64 = 5, 6, 9
MARKER = b"\xab\xcd\xefMaxMind.com"


def head(kind, size):
    assert size < 29 + 256
    first, more = (size, b"") if size < 29 else (29, bytes([size - 29]))
    return (bytes([kind << 5 | first]) if kind < 8 else bytes([first, kind - 7])) + more


def encode(value):
    if isinstance(value, tuple):  # (kind, number)
        text = value[1].to_bytes((value[1].bit_length() + 7) // 8, "big")
        return head(value[0], len(text)) + text
    if isinstance(value, float):
        return head(3, 8) + struct.pack(">d", value)
    if isinstance(value, str):
        return head(2, len(value.encode())) + value.encode()
    if isinstance(value, list):
        return head(11, len(value)) + b"".join(map(encode, value))
    return head(7, len(value)) + b"".join(encode(k) + encode(v) for k, v in value.items())


def write(path, networks, kind="NervesHub-Test-City"):
    """networks: {"192.0.2.0/24": {"location": {...}}}; no one within another."""
    nodes, data = [[None, None]], b""
    for text, record in networks.items():
        network = ipaddress.ip_network(text)
        v6 = network if network.version == 6 else ipaddress.ip_network(f"::{network.network_address}/{96 + network.prefixlen}")
        bits = format(int(v6.network_address), "0128b")[:v6.prefixlen]
        at = 0
        for bit in bits[:-1]:
            if nodes[at][int(bit)] is None:
                nodes.append([None, None])
                nodes[at][int(bit)] = len(nodes) - 1
            at = nodes[at][int(bit)]
        nodes[at][int(bits[-1])] = ("data", len(data))
        data += encode(record)

    def record(value):
        number = len(nodes) if value is None else len(nodes) + 16 + value[1] if isinstance(value, tuple) else value
        return number.to_bytes(3, "big")

    metadata = {"node_count": (UINT32, len(nodes)), "record_size": (UINT16, 24), "ip_version": (UINT16, 6), "database_type": kind, "languages": ["en"],
                "binary_format_major_version": (UINT16, 2), "binary_format_minor_version": (UINT16, 0), "build_epoch": (UINT64, 1700000000),
                "description": {"en": "places that are none"}}
    path.write_bytes(b"".join(record(left) + record(right) for left, right in nodes) + bytes(16) + data + MARKER + encode(metadata))
    return path
