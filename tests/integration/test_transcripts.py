"""What each generation of device clients says, and what it must be told: byte for byte, through a whole update, from the first client of 2018 to MessagePack. A row of GENERATIONS is a
client; its transcript is in the order of the device's own life:

    D frame     the device sends it
    S frame     the server sends it: the next one on that topic, and exactly so (topics are independent of each other)
    PING        the client's WebSocket ping, answered by a pong: how some clients keep the connection
    PUSH        somebody sends the device the new firmware
    REBOOT      the socket is gone, the device comes back

Words in braces stand for text that is the same for all: what the device knows of its firmware, what the server says of the update. Whatever the server sends is also held against what
would crash that client. source: reference/device-protocol 3.7, 16, 17"""

import datetime
import hashlib
import json
import ssl
import time
import unittest
import urllib.parse

import msgpack

from nhtest import ServerCase, make_firmware, nh1_headers
from rawpeer import BINARY, PING, PONG, TEXT, Broken, WebSocketPeer, close_frame, frame, upgrade_request

KV = ('"nerves_fw_application_part0_devpath":"/dev/mmcblk0p4","nerves_fw_application_part0_fstype":"f2fs","nerves_fw_application_part0_target":"/root",'
      '"nerves_fw_architecture":"aarch64","nerves_fw_author":"","nerves_fw_description":"","nerves_fw_misc":"","nerves_fw_platform":"fixture_board",'
      '"nerves_fw_product":"Thermo Widget","nerves_fw_uuid":"%s","nerves_fw_vcs_identifier":"","nerves_fw_version":"%s"')
META = '"meta":{"firmware_auto_revert_detected":false,"firmware_validated":true}'
HEARTBEAT = '''
D [null,"9","phoenix","heartbeat",{}]
S [null,"9","phoenix","phx_reply",{"status":"ok","response":{}}]'''

# name, device_api_version, path, how it identifies itself, transcript
GENERATIONS = [
    ("nerves_hub 0.1, JSON V1 without a version", None, "/socket/websocket", "certificate", '''
D {"topic":"firmware:{FW1}","event":"phx_join","payload":{{KV1}},"ref":"1"}
S {"topic":"firmware:{FW1}","event":"phx_reply","payload":{"status":"ok","response":{}},"ref":"1"}
D {"topic":"phoenix","event":"heartbeat","payload":{},"ref":"2"}
S {"topic":"phoenix","event":"phx_reply","payload":{"status":"ok","response":{}},"ref":"2"}
PUSH
S {"topic":"firmware:{FW1}","event":"update","payload":{UPDATE},"ref":null}
D {"topic":"firmware:{FW1}","event":"fwup_progress","payload":{"value":5},"ref":"3"}
D {"topic":"firmware:{FW1}","event":"fwup_progress","payload":{"value":100},"ref":"4"}
REBOOT
D {"topic":"firmware:{FW2}","event":"phx_join","payload":{{KV2}},"ref":"1"}
S {"topic":"firmware:{FW2}","event":"phx_reply","payload":{"status":"ok","response":{}},"ref":"1"}'''),

    ("nerves_hub 0.4, the topic is all it says", None, "/socket/websocket?vsn=2.0.0", "certificate", '''
D [null,"1","firmware:{FW1}","phx_join",{}]
S [null,"1","firmware:{FW1}","phx_reply",{"status":"ok","response":{}}]
D [null,2,"phoenix","heartbeat",null]
S [null,2,"phoenix","phx_reply",{"status":"ok","response":{}}]
PUSH
S [null,null,"firmware:{FW1}","update",{UPDATE}]
D ["1","3","firmware:{FW1}","fwup_progress",{"value":5}]
D ["1","4","firmware:{FW1}","fwup_progress",{"value":100}]
REBOOT
D [null,"1","firmware:{FW2}","phx_join",{}]
S [null,"1","firmware:{FW2}","phx_reply",{"status":"ok","response":{}}]'''),

    ("nerves_hub 0.7 and link 0.4", None, "/socket/websocket?vsn=2.0.0", "certificate", '''
D [null,"1","device","phx_join",{{KV1}}]
S [null,"1","device","phx_reply",{"status":"ok","response":{}}]
D [null,2,"phoenix","heartbeat",null]
S [null,2,"phoenix","phx_reply",{"status":"ok","response":{}}]
PUSH
S [null,null,"device","update",{UPDATE}]
D ["1","3","device","fwup_progress",{"value":5}]
D [null,4,"phoenix","heartbeat",null]
S [null,4,"phoenix","phx_reply",{"status":"ok","response":{}}]
D ["1","5","device","fwup_progress",{"value":100}]
REBOOT
D [null,"1","device","phx_join",{{KV2}}]
S [null,"1","device","phx_reply",{"status":"ok","response":{}}]'''),

    ("link 0.8 and 0.9", None, "/socket/websocket?vsn=2.0.0", "certificate", '''
D [null,"1","device","phx_join",{"fwup_version":"1.5.1",{KV1}}]
D [null,"2","console","phx_join",{"console_version":"1.0.0","fwup_version":"1.5.1",{KV1}}]
S [null,"1","device","phx_reply",{"status":"ok","response":{}}]
S [null,"2","console","phx_reply",{"status":"ok","response":{}}]
S ["2",null,"console","dn",{"data":"group()\\n\\r"}]
D ["2","3","console","up",{"data":"group()\\r\\n:ok\\r\\niex(1)> "}]
PING
PUSH
S [null,null,"device","update",{UPDATE}]
D ["1","4","device","fwup_progress",{"value":50}]
PING
D ["1","5","device","fwup_progress",{"value":100}]
REBOOT
D [null,"1","device","phx_join",{"fwup_version":"1.5.1",{KV2}}]
S [null,"1","device","phx_reply",{"status":"ok","response":{}}]'''),

    ("link 0.10 to 0.12", "1.0.0", "/socket/websocket?vsn=2.0.0", "certificate", '''
D [null,"1","device","phx_join",{"currently_downloading_uuid":null,"device_api_version":"1.0.0","fwup_version":"1.8.4",{KV1}}]
D [null,"2","console","phx_join",{"console_version":"1.0.0","currently_downloading_uuid":null,"device_api_version":"1.0.0","fwup_version":"1.8.4",{KV1}}]
S [null,"1","device","phx_reply",{"status":"ok","response":{}}]
S [null,"2","console","phx_reply",{"status":"ok","response":{}}]
S ["2",null,"console","dn",{"data":"group()\\n\\r"}]
PING
PUSH
S [null,null,"device","update",{UPDATE}]
D ["1","3","device","fwup_progress",{"value":50}]
D ["1","4","device","fwup_progress",{"value":100}]
REBOOT
D [null,"1","device","phx_join",{"currently_downloading_uuid":null,"device_api_version":"1.0.0","fwup_version":"1.8.4",{KV2}}]
S [null,"1","device","phx_reply",{"status":"ok","response":{}}]'''),

    ("link 0.13 to 1.1", "1.0.0", "/socket/websocket?vsn=2.0.0", "certificate", '''
D ["1","1","device","phx_join",{"console_version":"1.0.0","currently_downloading_uuid":null,"device_api_version":"1.0.0","fwup_version":"1.8.4",{KV1}}]
D ["2","2","console","phx_join",{"console_version":"1.0.0","currently_downloading_uuid":null,"device_api_version":"1.0.0","fwup_version":"1.8.4",{KV1}}]
S ["1","1","device","phx_reply",{"status":"ok","response":{}}]
S ["2","2","console","phx_reply",{"status":"ok","response":{}}]
S ["2",null,"console","dn",{"data":"group()\\n\\r"}]''' + HEARTBEAT + '''
PUSH
S [null,null,"device","update",{UPDATE}]
D [null,"10","device","fwup_progress",{"value":50}]
D [null,"11","device","fwup_progress",{"value":100}]
REBOOT
D ["1","1","device","phx_join",{"console_version":"1.0.0","currently_downloading_uuid":null,"device_api_version":"1.0.0","fwup_version":"1.8.4",{KV2}}]
S ["1","1","device","phx_reply",{"status":"ok","response":{}}]'''),

    ("link 1.2 to 2.0", "1.0.0", "/socket/websocket?vsn=2.0.0", "certificate", '''
D ["1","1","device","phx_join",{"console_version":"1.0.0","currently_downloading_uuid":null,"device_api_version":"1.0.0","fwup_version":"1.10.1",{KV1}}]
S ["1","1","device","phx_reply",{"status":"ok","response":{}}]''' + HEARTBEAT + '''
PUSH
S [null,null,"device","update",{UPDATE}]
D [null,"10","device","fwup_progress",{"value":1}]
D [null,"11","device","fwup_progress",{"value":2}]
D [null,"12","device","fwup_progress",{"value":100}]
REBOOT
D ["1","1","device","phx_join",{"console_version":"1.0.0","currently_downloading_uuid":null,"device_api_version":"1.0.0","fwup_version":"1.10.1",{KV2}}]
S ["1","1","device","phx_reply",{"status":"ok","response":{}}]'''),

    ("link 2.1", "1.0.0", "/device-socket/websocket?vsn=2.0.0", "secret", '''
D ["1","1","device","phx_join",{"console_version":"2.0.0","currently_downloading_uuid":null,"device_api_version":"1.0.0","fwup_version":"1.10.1",{KV1}}]
D ["2","2","console","phx_join",{"console_version":"2.0.0","currently_downloading_uuid":null,"device_api_version":"1.0.0","fwup_version":"1.10.1",{KV1}}]
S ["1","1","device","phx_reply",{"status":"ok","response":{}}]
S ["2","2","console","phx_reply",{"status":"ok","response":{}}]
S ["2",null,"console","dn",{"data":"group()\\n\\r"}]
D [null,"4","console","file-data/start",{"filename":"log.txt"}]
D [null,"5","console","file-data",{"chunk":0,"data":"bGluZQo=","filename":"log.txt"}]
D [null,"6","console","file-data/stop",{"filename":"log.txt"}]''' + HEARTBEAT + '''
PUSH
S [null,null,"device","update",{UPDATE}]
D [null,"10","device","fwup_progress",{"value":100}]
REBOOT
D ["1","1","device","phx_join",{"console_version":"2.0.0","currently_downloading_uuid":null,"device_api_version":"1.0.0","fwup_version":"1.10.1",{KV2}}]
S ["1","1","device","phx_reply",{"status":"ok","response":{}}]'''),

    ("link 2.2 to 2.4", "2.0.0", "/socket/websocket?vsn=2.0.0", "certificate", '''
D ["1","1","device","phx_join",{"archive_public_keys":"on_connect","console_version":"2.0.0","currently_downloading_uuid":null,"device_api_version":"2.0.0","fwup_public_keys":"on_connect","fwup_version":"1.10.1",{KV1}}]
S ["1","1","device","phx_reply",{"status":"ok","response":{}}]
S [null,null,"device","fwup_public_keys",{KEYS}]
S [null,null,"device","archive_public_keys",{KEYS}]
S [null,null,"device","archive",{ARCHIVE}]''' + HEARTBEAT + '''
PUSH
S [null,null,"device","update",{UPDATE}]
D [null,"10","device","fwup_progress",{"value":100}]
REBOOT
D ["1","1","device","phx_join",{"console_version":"2.0.0","currently_downloading_uuid":null,"device_api_version":"2.0.0","fwup_version":"1.10.1",{KV2}}]
S ["1","1","device","phx_reply",{"status":"ok","response":{}}]'''),

    ("link 2.5", "2.1.0", "/device-socket/websocket?vsn=2.0.0", "secret", '''
D ["1","1","device","phx_join",{"console_version":"2.0.0","currently_downloading_uuid":null,"device_api_version":"2.1.0","fwup_version":"1.10.1",{KV1}}]
D ["2","2","console","phx_join",{"console_version":"2.0.0","currently_downloading_uuid":null,"device_api_version":"2.1.0","fwup_version":"1.10.1",{KV1}}]
S ["1","1","device","phx_reply",{"status":"ok","response":{}}]
S ["2","2","console","phx_reply",{"status":"ok","response":{}}]
S [null,null,"device","archive",{ARCHIVE}]
S [null,null,"device","scripts/run",{"text":"group()","ref":"connecting_code"}]
D [null,"3","device","scripts/run",{"output":"","ref":"connecting_code","return":":ok"}]''' + HEARTBEAT + '''
PUSH
S [null,null,"device","update",{UPDATE}]
D [null,"10","device","fwup_progress",{"value":100}]
REBOOT
D ["1","1","device","phx_join",{"console_version":"2.0.0","currently_downloading_uuid":null,"device_api_version":"2.1.0","fwup_version":"1.10.1",{KV2}}]
S ["1","1","device","phx_reply",{"status":"ok","response":{}}]
S [null,null,"device","scripts/run",{"text":"group()","ref":"connecting_code"}]'''),

    ("link 2.6 to 2.8", "2.2.0", "/socket/websocket?vsn=2.0.0", "certificate", '''
D ["1","1","device","phx_join",{"console_version":"2.0.0","currently_downloading_uuid":null,"device_api_version":"2.2.0","fwup_version":"1.10.1",{KV1}}]
S ["1","1","device","phx_reply",{"status":"ok","response":{}}]
S [null,null,"device","archive",{ARCHIVE}]
S [null,null,"device","extensions:get",{}]
S [null,null,"device","scripts/run",{"text":"group()","ref":"connecting_code"}]
D ["4","4","extensions","phx_join",{"geo":"0.0.1","health":"0.0.1"}]
S ["4","4","extensions","phx_reply",{"status":"ok","response":["geo","health"]}]
D [null,"5","extensions","geo:attached",{}]
S ["4",null,"extensions","geo:location:request",{}]
D [null,"6","extensions","health:attached",{}]
S ["4",null,"extensions","health:check",{}]
D [null,"7","extensions","geo:location:update",{"latitude":52.1,"longitude":4.3,"source":"geoip"}]
D [null,"8","extensions","health:report",{"value":{"alarms":{},"checks":{},"connectivity":{},"metadata":{},"metrics":{"load_1min":0.1,"mem_used_percent":23},"timestamp":"2026-01-02T03:04:05.678901Z"}}]''' + HEARTBEAT + '''
PUSH
S [null,null,"device","update",{UPDATE}]
D [null,"10","device","fwup_progress",{"value":100}]
REBOOT
D ["1","1","device","phx_join",{"console_version":"2.0.0","currently_downloading_uuid":null,"device_api_version":"2.2.0","fwup_version":"1.10.1",{KV2}}]
S ["1","1","device","phx_reply",{"status":"ok","response":{}}]
S [null,null,"device","extensions:get",{}]
S [null,null,"device","scripts/run",{"text":"group()","ref":"connecting_code"}]'''),

    ("link 2.9", "2.3.0", "/socket/websocket?vsn=2.0.0", "certificate", '''
D ["1","1","device","phx_join",{"console_version":"2.0.0","currently_downloading_uuid":null,"device_api_version":"2.3.0","fwup_version":"1.13.0",{META},{KV1}}]
S ["1","1","device","phx_reply",{"status":"ok","response":{}}]
S [null,null,"device","archive",{ARCHIVE}]
S [null,null,"device","extensions:get",{}]
S [null,null,"device","scripts/run",{"text":"group()","ref":"connecting_code"}]''' + HEARTBEAT + '''
PUSH
S [null,null,"device","update",{UPDATE}]
D [null,"10","device","status_update",{"status":"received"}]
D [null,"11","device","fwup_progress",{"stage":"downloading","value":10}]
D [null,"12","device","fwup_progress",{"stage":"downloading","value":100}]
D [null,"13","device","fwup_progress",{"stage":"updating","value":1}]
D [null,"14","device","fwup_progress",{"stage":"updating","value":100}]
D [null,"15","device","status_update",{"status":"completed"}]
REBOOT
D ["1","1","device","phx_join",{"console_version":"2.0.0","currently_downloading_uuid":null,"device_api_version":"2.3.0","fwup_version":"1.13.0",{META},{KV2}}]
S ["1","1","device","phx_reply",{"status":"ok","response":{}}]
S [null,null,"device","extensions:get",{}]
S [null,null,"device","scripts/run",{"text":"group()","ref":"connecting_code"}]'''),

    ("link 2.10", "2.3.0", "/device-socket/websocket?vsn=2.0.0", "secret", '''
D ["1","1","device","phx_join",{"console_version":"2.0.0","currently_downloading_uuid":null,"device_api_version":"2.3.0","fwup_version":"1.13.0",{META},{KV1}}]
S ["1","1","device","phx_reply",{"status":"ok","response":{}}]
S [null,null,"device","archive",{ARCHIVE}]
S [null,null,"device","extensions:get",{}]
S [null,null,"device","scripts/run",{"text":"group()","ref":"connecting_code"}]
D ["1","3","device","scripts/run",{"output":"","ref":"connecting_code","result":"completed","return":":ok"}]
D ["4","4","extensions","phx_join",{"geo":"0.0.1","health":"0.0.1","local_shell":"0.0.1"}]
S ["4","4","extensions","phx_reply",{"status":"ok","response":["geo","health","local_shell"]}]
D ["4","5","extensions","local_shell:attached",{}]
S ["4",null,"extensions","local_shell:request_shell",{}]
D ["4","6","extensions","local_shell:request_status",{"status":"started"}]
D ["4","7","extensions","local_shell:shell_output",{"data":"# "}]
D ["4","8","extensions","local_shell:shell_exited",{"exit_code":0}]''' + HEARTBEAT + '''
PUSH
S [null,null,"device","update",{UPDATE}]
D ["1","10","device","status_update",{"status":"received"}]
D ["1","11","device","fwup_progress",{"stage":"updating","value":100}]
D ["1","12","device","status_update",{"status":"completed"}]
REBOOT
D ["1","1","device","phx_join",{"console_version":"2.0.0","currently_downloading_uuid":null,"device_api_version":"2.3.0","fwup_version":"1.13.0",{META},{KV2}}]
S ["1","1","device","phx_reply",{"status":"ok","response":{}}]
S [null,null,"device","extensions:get",{}]
S [null,null,"device","scripts/run",{"text":"group()","ref":"connecting_code"}]'''),

    ("link 2.11 and 2.12", "2.3.0", "/socket/websocket?vsn=2.0.0", "certificate", '''
D ["1","1","device","phx_join",{"archive_public_keys":"on_connect","console_version":"2.0.0","currently_downloading_uuid":null,"device_api_version":"2.3.0","fwup_public_keys":"on_connect","fwup_version":"1.13.0",{META},{KV1}}]
D ["2","2","console","phx_join",{"archive_public_keys":"on_connect","console_version":"2.0.0","currently_downloading_uuid":null,"device_api_version":"2.3.0","fwup_public_keys":"on_connect","fwup_version":"1.13.0",{META},{KV1}}]
S ["1","1","device","phx_reply",{"status":"ok","response":{}}]
S ["2","2","console","phx_reply",{"status":"ok","response":{}}]
D ["1","3","device","report_network_interface",{"interface":"eth0"}]
S [null,null,"device","fwup_public_keys",{KEYS}]
S [null,null,"device","archive_public_keys",{KEYS}]
S [null,null,"device","archive",{ARCHIVE}]
S [null,null,"device","extensions:get",{}]
S [null,null,"device","scripts/run",{"text":"group()","ref":"connecting_code"}]
D ["1","5","device","status_update",{"downloader_network_interface":"eth0","status":"started"}]''' + HEARTBEAT + '''
PUSH
S [null,null,"device","update",{UPDATE}]
D ["1","10","device","status_update",{"status":"received"}]
D ["1","11","device","status_update",{"downloader_network_interface":"eth0","status":"started"}]
D ["1","12","device","fwup_progress",{"stage":"updating","value":3}]
D ["1","40","device","fwup_progress",{"stage":"updating","value":100}]
D ["1","41","device","status_update",{"status":"completed"}]
REBOOT
D ["1","1","device","phx_join",{"console_version":"2.0.0","currently_downloading_uuid":null,"device_api_version":"2.3.0","fwup_version":"1.13.0","meta":{"firmware_auto_revert_detected":false,"firmware_validated":false},{KV2}}]
S ["1","1","device","phx_reply",{"status":"ok","response":{}}]
S [null,null,"device","extensions:get",{}]
S [null,null,"device","scripts/run",{"text":"group()","ref":"connecting_code"}]
D ["1","9","device","firmware_validated",{}]'''),

    ("link after 2.12, MessagePack", "2.3.0", "/socket/websocket?vsn=3.0.0", "certificate", '''
D ["1","1","device","phx_join",{"archive_public_keys":"on_connect","console_version":"2.0.0","currently_downloading_uuid":null,"device_api_version":"2.3.0","fwup_public_keys":"on_connect","fwup_version":"1.13.0",{META},{KV1}}]
D ["2","2","console","phx_join",{"console_version":"2.0.0","device_api_version":"2.3.0"}]
S ["1","1","device","phx_reply",{"status":"ok","response":{}}]
S ["2","2","console","phx_reply",{"status":"ok","response":{}}]
S [null,null,"device","fwup_public_keys",{KEYS}]
S [null,null,"device","archive_public_keys",{KEYS}]
S [null,null,"device","archive",{ARCHIVE}]
S [null,null,"device","extensions:get",{}]
S [null,null,"device","scripts/run",{"text":"group()","ref":"connecting_code"}]
D ["4","4","extensions","phx_join",{"geo":"0.0.1","health":"0.0.1","local_shell":"0.0.1","network_identity":"0.0.1"}]
S ["4","4","extensions","phx_reply",{"status":"ok","response":["geo","health","local_shell","network_identity"]}]
D ["4","5","extensions","network_identity:attached",{}]
S ["4",null,"extensions","network_identity:request",{}]
D ["4","6","extensions","network_identity:report",{"identities":[]}]
D ["4","7","extensions","health:attached",{}]
S ["4",null,"extensions","health:check",{}]''' + HEARTBEAT + '''
PUSH
S [null,null,"device","update",{UPDATE}]
D ["1","10","device","status_update",{"status":"received"}]
D ["1","11","device","status_update",{"downloader_network_interface":"eth0","status":"started"}]
D ["1","12","device","fwup_progress",{"stage":"downloading","value":100}]
D ["1","13","device","fwup_progress",{"stage":"updating","value":100}]
D ["1","14","device","status_update",{"status":"completed"}]
REBOOT
D ["1","1","device","phx_join",{"console_version":"2.0.0","currently_downloading_uuid":null,"device_api_version":"2.3.0","fwup_version":"1.13.0",{META},{KV2}}]
S ["1","1","device","phx_reply",{"status":"ok","response":{}}]
S [null,null,"device","extensions:get",{}]
S [null,null,"device","scripts/run",{"text":"group()","ref":"connecting_code"}]'''),

    ("ESP32", "2.2.0", "/device-socket/websocket?vsn=2.0.0", "secret", '''
D ["1","1","device","phx_join",{"device_api_version":"2.2.0","update_tool":"esp-idf","esp_idf_project_name":"Thermo Widget","esp_idf_version":"v1.0.0","esp_idf_app_elf_sha256":"{ESP1}","esp_idf_ver":"v5.2.1","esp_idf_chip_id":9,{META}}]
S ["1","1","device","phx_reply",{"status":"ok","response":{}}]
S [null,null,"device","extensions:get",{}]
S [null,null,"device","scripts/run",{"text":"device()","ref":"connecting_code"}]
D ["1","2","device","firmware_validated",{}]
D ["3","3","console","phx_join",{"console_version":"1.0.0"}]
S ["3","3","console","phx_reply",{"status":"ok","response":{}}]
D ["3","4","console","up",{"data":"esp32> "}]
D ["5","5","extensions","phx_join",{"health":"0.0.1","logging":"0.0.1"}]
S ["5","5","extensions","phx_reply",{"status":"ok","response":["health","logging"]}]
D ["5","6","extensions","health:attached",{}]
S ["5",null,"extensions","health:check",{}]
D ["5","7","extensions","health:report",{"value":{"metadata":{"chip":"esp32s3"},"metrics":{"heap_free":123456}}}]
D ["5","8","extensions","logging:attached",{}]
D ["5","20","extensions","logging:send",{"level":"info","message":"started","meta":{"time":"1700000000123456"}}]''' + HEARTBEAT + '''
PING
D ["1","21","device","update_progress",{"stage":"downloading","value":5}]
D ["1","22","device","update_progress",{"stage":"updating","value":100}]
D ["1","23","device","status_update",{"status":"completed"}]
D ["1","24","device","rebooting",{}]
REBOOT
D ["1","1","device","phx_join",{"device_api_version":"2.2.0","update_tool":"esp-idf","esp_idf_project_name":"Thermo Widget","esp_idf_version":"v1.1.0","esp_idf_app_elf_sha256":"{ESP2}","esp_idf_ver":"v5.2.1","esp_idf_chip_id":9,{META}}]
S ["1","1","device","phx_reply",{"status":"ok","response":{}}]
S [null,null,"device","extensions:get",{}]
S [null,null,"device","scripts/run",{"text":"device()","ref":"connecting_code"}]
D ["1","2","device","firmware_validated",{}]'''),
]

GATES = {"archive": "2.0.0", "scripts/run": "2.1.0", "extensions:get": "2.2.0"}


def number(version):
    return tuple(int(part) for part in version.split("."))


class Format:
    """How a transcript's line travels, and what a frame says: [join_ref, ref, topic, event, payload]."""

    def __init__(self, path):
        query = urllib.parse.urlsplit(path).query
        self.version = query.rpartition("vsn=")[2] or "1.0.0"
        self.opcode = BINARY if self.version == "3.0.0" else TEXT

    def wire(self, line):
        return msgpack.packb(json.loads(line)) if self.opcode == BINARY else line.encode()

    def read(self, data):
        if self.version == "1.0.0":
            message = json.loads(data)
            return [None, message["ref"], message["topic"], message["event"], message["payload"]]
        return msgpack.unpackb(data) if self.opcode == BINARY else json.loads(data)


class Client:
    """One client's sockets, one after the other. Everything the server says is kept by topic until the transcript has it, and held against what this client can bear."""

    def __init__(self, case, name, api, path, headers, pair):
        self.case, self.name, self.api, self.path, self.headers, self.pair = case, name, api, path, headers, pair
        self.format = Format(path)
        self.peer = None
        self.updates = 0

    def connect(self):
        """Opens the socket; the answer of one that refuses stays in `answer`."""
        context = ssl.create_default_context(cafile=str(self.case.server.ca_file))
        if self.pair:
            context.load_cert_chain(*map(str, self.pair))
        self.peer = WebSocketPeer(self.case.server.device_port, wrap=lambda s: context.wrap_socket(s, server_hostname="localhost"))
        self.peer.send(upgrade_request(self.path, {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits", **self.headers}))
        self.answer = self.peer.answer()
        if self.answer is None or self.answer.status != 101:
            raise Broken(f"no upgrade: {self.answer}")
        self.case.assertNotIn("sec-websocket-extensions", self.answer.headers, "compression is declined")
        self.waiting, self.pongs = {}, 0
        self.joins, self.asked, self.left = {}, {}, set()

    def close(self):
        self.peer.send(close_frame(1000))
        frames, code = self.peer.until_close()
        for opcode, data in frames:
            self.take(opcode, data)
        self.case.assertEqual(code, 1000)
        self.case.assertEqual(self.waiting, {}, f"{self.name}: nobody expects these")
        self.peer.close()

    def send(self, line):
        join_ref, ref, topic, event, payload = self.format.read(self.format.wire(line))
        if event == "phx_join":
            self.joins[topic] = (join_ref, ref)
        elif event in ("heartbeat", "phx_leave", "check_update_available"):
            self.asked[(topic, ref)] = event
            if event == "phx_leave":
                self.left.add(topic)
        self.peer.send(frame(self.format.opcode, self.format.wire(line)))

    def bytes(self, opcode, data):
        self.peer.send(frame(opcode, data))

    def take(self, opcode, data):
        if opcode == PONG:
            self.pongs += 1
            return
        self.case.assertEqual(opcode, self.format.opcode, f"{self.name}: a frame of the wrong kind")
        message = self.format.read(data)
        self.check(message)
        self.waiting.setdefault(message[2], []).append(data)

    def receive(self):
        got = self.peer.receive()
        self.case.assertIsNotNone(got, f"{self.name}: the server ended the connection")
        self.case.assertNotEqual(got[0], 8, f"{self.name}: the server closed: {got}")
        self.take(*got)

    def next(self, topic):
        while not self.waiting.get(topic):
            self.receive()
        data = self.waiting[topic].pop(0)
        if not self.waiting[topic]:
            del self.waiting[topic]
        return data

    def pick(self, topic, data):
        """Waits for this message, wherever among the others: a group may have an update for a device before the server has asked for its extensions."""
        while data not in self.waiting.get(topic, []):
            self.receive()
        self.waiting[topic].remove(data)
        if not self.waiting[topic]:
            del self.waiting[topic]

    def ping(self):
        self.peer.send(frame(PING, b""))
        before = self.pongs
        while self.pongs == before:
            self.receive()

    # What would crash this client, or make it do the wrong thing. source: reference/device-protocol 3.7, 8.1, 17.2

    def check(self, message):
        case = self.case
        case.assertEqual(len(message), 5)
        join_ref, ref, topic, event, payload = message
        case.assertIsInstance(payload, dict)
        if ref is not None or event == "phx_reply":
            self.check_reply(join_ref, ref, topic, event, payload)
            return
        case.assertIn(topic, self.joins, f"{self.name}: nothing is said on a topic that is not joined: {message}")
        joined_by = [r for r in self.joins[topic] if r is not None][0]
        case.assertIn(join_ref, (None, joined_by), message)
        case.assertFalse(event.startswith("phx_"), message)
        if event in GATES:
            case.assertGreaterEqual(number(self.api or "1.0.0"), number(GATES[event]), message)
        if event == "update":
            self.updates += 1
            case.assertEqual(self.updates, 1, "one update at a time")
            case.assertIs(payload["update_available"], True)
            case.assertIsInstance(payload["firmware_url"], str)
            case.assertIsInstance(payload["firmware_meta"]["uuid"], str)
        else:
            case.assertNotIn("firmware_url", payload, message)

    def check_reply(self, join_ref, ref, topic, event, payload):
        case = self.case
        if event == "phx_close":
            case.assertIn(topic, self.left, "a close is taken for a leave that is final")
            return
        case.assertEqual(event, "phx_reply")
        case.assertIn(payload.get("status"), ("ok", "error"))
        case.assertEqual(set(payload), {"status", "response"})
        if ref in self.joins.get(topic, ()):
            wanted = None if self.format.version == "1.0.0" else self.joins[topic][0]
            case.assertEqual((join_ref, ref), (wanted, self.joins[topic][1]), "the refs of a join come back as they were")
            case.assertNotIn("firmware_url", payload["response"])
        elif payload["response"] == "detach":
            case.assertEqual((topic, payload["status"]), ("extensions", "error"))
            case.assertNotEqual(join_ref, ref)
        else:
            case.assertIn((topic, ref), self.asked, f"{self.name}: an answer to a push: {payload}")


class TranscriptCase(ServerCase):
    @classmethod
    def prepare(cls):
        super().prepare()
        cls.fw = [cls.firmware(cls, "1.0.0"), cls.firmware(cls, "1.1.0")]
        cls.secret = cls.server.api("POST", f"{cls.product_path}/shared_secrets", {}, expect=201).data
        cls.register_ca(cls, "factory", product_name=cls.product, tags=[], description="made in the factory")
        cls.switch(cls, **{name: True for name in ("geo", "health", "local_shell", "logging", "network_identity")})
        cls.words = {"FW1": cls.fw[0]["uuid"], "FW2": cls.fw[1]["uuid"], "KV1": KV % (cls.fw[0]["uuid"], "1.0.0"), "KV2": KV % (cls.fw[1]["uuid"], "1.1.0"), "META": META,
                     "ESP1": "11" * 32, "ESP2": "22" * 32, "KEYS": json.dumps({"keys": [cls.key_public.read_text().strip()]}, separators=(",", ":"))}

    def switch(self, **extensions):
        self.server.api("PUT", self.product_path, {"extensions": extensions}, expect=200)

    def client(self, identifier, api="2.3.0", path="/socket/websocket?vsn=2.0.0", identity="secret", name=None):
        pair = self.pki.device(identifier, "factory") if identity == "certificate" else None
        headers = {} if pair else nh1_headers(self.secret["key"], self.secret["secret"], identifier)
        client = Client(self, name or identifier, api, path, headers, pair)
        client.connect()
        return client

    def device(self, identifier):
        return self.server.api("GET", f"{self.product_path}/devices/{identifier}", expect=200).data

    def push(self, identifier):
        self.server.api("POST", f"{self.product_path}/devices/{identifier}/upgrade", {"uuid": self.fw[1]["uuid"]}, expect=204)

    def fill(self, text, client, data=b""):
        """The line with its words filled in. Links are signed, so theirs is taken from the frame, after a look at it."""
        for word, value in self.words.items():
            text = text.replace("{%s}" % word, value)
        for word, make in (("{UPDATE}", self.update), ("{ARCHIVE}", self.archive_told)):
            if word in text:
                text = text.replace(word, make(client.format.read(data)[4]))
        return text

    def update(self, told):
        url, firmware = told["firmware_url"], self.fw[1]
        content = (self.home / "1.1.0.fw").read_bytes()
        parts = urllib.parse.urlsplit(url)
        self.assertEqual(parts.scheme, "https")
        self.assertTrue(parts.path.endswith(f"/{firmware['uuid']}.fw"), url)
        meta = {"architecture": "aarch64", "author": "tests", "description": None, "misc": None, "platform": "fixture_board", "product": self.product,
                "uuid": firmware["uuid"], "vcs_identifier": None, "version": "1.1.0"}
        pieces = [hashlib.sha256(content[i:i + 1048576]).hexdigest().upper() for i in range(0, len(content), 1048576)]
        return json.dumps({"update_available": True, "firmware_url": url, "firmware_meta": meta, "size": len(content), "checksum": hashlib.sha256(content).hexdigest().upper(),
                           "partials_checksums": pieces, "deployment_id": None}, separators=(",", ":"))

    def archive_told(self, told):
        self.assertTrue(told["url"].startswith("https://"), told)
        self.assertRegex(told["uploaded_at"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d$", "a time without a zone")
        return json.dumps({"size": self.archive["size"], "uuid": self.archive["uuid"], "version": "2.0.0", "description": None, "platform": "generic", "architecture": "generic",
                           "uploaded_at": self.archive["inserted_at"], "url": told["url"]}, separators=(",", ":"))


class Generations(TranscriptCase):
    @classmethod
    def prepare(cls):
        super().prepare()
        path = make_firmware(cls.home, "2.0.0", cls.key_private, product="Anything", platform="generic", architecture="generic")
        cls.archive = {**cls.server.upload("acme", "Thermo%20Widget", path, kind="archive").data, "size": path.stat().st_size}
        cls.server.api("POST", f"{cls.product_path}/deployments", {"name": "all", "firmware": cls.fw[0]["uuid"], "archive": cls.archive["uuid"], "state": "on",
                                                                   "conditions": {"version": "", "tags": []}, "connecting_code": "group()"}, expect=201)
        cls.server.api("POST", f"{cls.product_path}/devices", {"identifier": "ESP32", "tags": []}, expect=201)
        cls.server.api("PUT", f"{cls.product_path}/devices/ESP32", {"connecting_code": "device()"}, expect=201)

    def play(self, client, identifier, transcript):
        for line in transcript.strip().splitlines():
            word, _, text = line.partition(" ")
            if word == "D":
                client.send(self.fill(text, client))
            elif word == "S":
                topic = client.format.read(client.format.wire(self.fill(text.replace("{UPDATE}", "{}").replace("{ARCHIVE}", "{}"), client)))[2]
                data = client.next(topic)
                self.assertEqual(data, client.format.wire(self.fill(text, client, data)), f"{client.name}: {line}")
            elif word == "PING":
                client.ping()
            elif word == "PUSH":
                self.push(identifier)
            elif word == "REBOOT":
                client.ping()
                client.close()
                client.connect()
        client.ping()
        client.close()

    def test_generations(self):
        for name, api, path, identity, transcript in GENERATIONS:
            identifier = name.split(",")[0].replace(" ", "-")
            with self.subTest(name):
                self.play(self.client(identifier, api, path, identity, name), identifier, transcript)
                self.assertEqual(self.device(identifier)["version"], "1.1.0", "the update succeeded")


OK = '{"status":"ok","response":{}}'
VALIDATED = '"meta":{"firmware_validated":true,"firmware_auto_revert_detected":false}'


class Quirks(TranscriptCase):
    """Each row of device-protocol 17.3 that a server has to know of; its number is in the name."""

    server_args = ("--orchestrator-interval", "1s")

    def joined(self, identifier, api="2.3.0", more=VALIDATED, kv="KV1", **kwargs):
        client = self.client(identifier, api, **kwargs)
        self.join(client, more, kv)
        return client

    def join(self, client, more=VALIDATED, kv="KV1", uuid=None):
        text = self.fill('["1","1","device","phx_join",{"device_api_version":"%s",%s,{%s}}]' % (client.api, more, kv), client)
        client.send(text.replace(self.fw[0]["uuid"], uuid) if uuid else text)
        self.assertEqual(client.next("device"), ('["1","1","device","phx_reply",%s]' % OK).encode())
        if number(client.api) >= (2, 2, 0):
            client.pick("device", b'[null,null,"device","extensions:get",{}]')

    def silent(self, client):
        """Whatever was said before, nothing was answered."""
        client.ping()
        self.assertEqual(client.waiting, {})

    def again(self, client):
        client.close()
        client.connect()

    def test_1_nothing_is_acknowledged(self):
        client = self.joined("q-1")
        client.send('["2","2","console","phx_join",{}]')
        client.next("console")
        for topic, event, payload in [("device", "fwup_progress", {"value": 5}), ("device", "update_progress", {"stage": "updating", "value": 5}),
                                      ("device", "firmware_validated", {}), ("device", "rebooting", {}), ("device", "connection_types", {"values": ["wifi"]}),
                                      ("device", "report_network_interface", {"interface": "wlan0"}), ("device", "network_interface_mismatch", {}),
                                      ("device", "scripts/run", {"ref": "nobody", "output": "", "return": ""}), ("device", "location:update", {"latitude": 1, "longitude": 2}),
                                      ("device", "health_check_report", {"value": {"metrics": {}}}), ("console", "up", {"data": "x"}),
                                      *(("device", "status_update", {"status": s, "reason": "x", "delay_for": 15}) for s in
                                        ("received", "started", "downloading", "updating", "completed", "ignored", "rescheduled", "failed", "fwup error x", "update failed"))]:
            client.send(json.dumps(["1" if topic == "device" else "2", "77", topic, event, payload]))
        self.silent(client)
        client.close()

    def test_2_refs_of_a_join_come_back_as_they_were(self):
        for refs in ('"1","1"', 'null,"1"', '"a","b"', "null,7", "3,3", 'null,null'):
            client = self.client("q-2", "1.0.0")
            client.send("[%s,%s" % (refs, self.fill('"device","phx_join",{{KV1}}]', client)))
            self.assertEqual(client.next("device"), ('[%s,"device","phx_reply",%s]' % (refs, OK)).encode())
            client.close()

    def test_3_join_refs_of_pushes(self):
        """Null and the join's are heard, an earlier join's is not."""
        client = self.joined("q-3")
        ignored = self.server.metric("device_ignored_total")
        for ref, interface in (("null", "wlan0"), ('"1"', "eth0"), ('"0"', "wwan0")):
            client.send('[%s,"5","device","report_network_interface",{"interface":"%s"}]' % (ref, interface))
        self.silent(client)
        self.assertEqual(self.server.metric("device_ignored_total"), ignored + 1)
        client.close()

    def test_4_refs_keep_their_type(self):
        client = self.client("q-4")
        for ref in ("2", '"2"', "9007199254740993", "null"):
            client.send('[null,%s,"phoenix","heartbeat",null]' % ref)
            self.assertEqual(client.next("phoenix"), ('[null,%s,"phoenix","phx_reply",%s]' % (ref, OK)).encode())
        client.close()

    def test_5_a_device_is_made_to_rejoin_by_a_close_of_its_socket(self):
        client = self.joined("q-5")
        self.server.api("POST", f"{self.product_path}/devices/q-5/reconnect", expect=204)
        frames, code = client.peer.until_close()
        self.assertEqual((frames, code), ([], 1001))

    def test_6_7_22_the_join_brings_no_update_and_there_is_one_at_a_time(self):
        self.server.api("POST", f"{self.product_path}/deployments", {"name": "six", "firmware": self.fw[1]["uuid"], "state": "on", "conditions": {"version": "", "tags": ["six"]}}, expect=201)
        self.server.api("POST", f"{self.product_path}/devices", {"identifier": "q-6", "tags": ["six"]}, expect=201)
        client = self.joined("q-6")
        told = client.format.read(client.next("device"))
        self.assertEqual((told[3], told[4]["update_available"]), ("update", True))
        self.assertIsInstance(told[4]["deployment_id"], int)
        self.assertEqual(self.server.api("POST", f"{self.product_path}/devices/q-6/upgrade", {"uuid": self.fw[1]["uuid"]}).status, 409)
        self.silent(client)
        client.close()

    def test_7_who_asks_for_an_update_is_answered(self):
        """As clients of API 2.0 and 2.1 do: without the key that older ones take for an update."""
        client = self.joined("q-7", "2.0.0")
        client.send('["1","4","device","check_update_available",{}]')
        self.assertEqual(client.next("device"), b'["1","4","device","phx_reply",{"status":"ok","response":{"update_available":false}}]')
        client.send('[null,null,"device","check_update_available",{}]')  # without a ref there is nothing to answer
        self.silent(client)
        client.close()

    def test_8_minutes_and_milliseconds(self):
        self.server.api("POST", f"{self.product_path}/deployments", {"name": "eight", "firmware": self.fw[1]["uuid"], "state": "on", "conditions": {"version": "", "tags": ["eight"]}}, expect=201)
        esp = '"update_tool":"fwup",' + VALIDATED
        rows = [("q-8-link", VALIDATED, 15, 15 * 60), ("q-8-esp", esp, 300000, 300), ("q-8-short", esp, 60000, 60), ("q-8-long", VALIDATED, 600000, 600)]
        clients = []
        for identifier, more, _delay, _seconds in rows:
            self.server.api("POST", f"{self.product_path}/devices", {"identifier": identifier, "tags": ["eight"]}, expect=201)
            clients.append(self.joined(identifier, more=more))
        for client, (identifier, _more, delay, seconds) in zip(clients, rows):
            client.next("device")
            before = time.time()
            client.send('["1","5","device","status_update",{"status":"rescheduled","delay_for":%d,"reason":"busy"}]' % delay)
            client.ping()
            until = datetime.datetime.fromisoformat(self.device(identifier)["updates_blocked_until"].replace("Z", "+00:00"))
            blocked = (until if until.tzinfo else until.replace(tzinfo=datetime.timezone.utc)).timestamp()
            self.assertTrue(before - 2 <= blocked - seconds <= time.time() + 2, f"{identifier}: blocked for {blocked - before} s instead of {seconds}")
            client.close()

    def test_9_what_means_nothing_is_counted(self):
        client = self.joined("q-9")
        unknown, ignored = (self.server.metric(f"device_{name}_total") for name in ("unknown_events", "ignored"))
        for event, payload in [("status_update", '{"status":"exploded"}'), ("status_update", "null"), ("status_update", "[]"), ("status_update", '{"status":7}'),
                               ("fwup_progress", '{"stage":"thinking","value":3}'), ("fwup_progress", '"x"'), ("fwup_progress", '{"value":"x"}'), ("fwup_progress", "{}"),
                               ("connection_types", '{"values":"wifi"}'), ("report_network_interface", '{"interface":null}')]:
            client.send('["1","5","device","%s",%s]' % (event, payload))
        for event in ("no_such_event", "phx_error", "", "update"):
            client.send('["1","5","device","%s",{}]' % event)
        self.silent(client)
        self.assertEqual(self.server.metric("device_ignored_total"), ignored + 10)
        self.assertEqual(self.server.metric("device_unknown_events_total"), unknown + 4)
        client.close()

    def test_10_a_download_nobody_asked_for_keeps_no_update_away(self):
        client = self.joined("q-10")
        for _ in range(8):
            client.send('["1","5","device","status_update",{"status":"started","downloader_network_interface":"eth0"}]')
        self.silent(client)
        self.push("q-10")
        self.assertEqual(client.format.read(client.next("device"))[3], "update")
        client.close()

    def test_11_any_other_firmware_is_a_success(self):
        client = self.joined("q-11")
        self.push("q-11")
        client.next("device")
        client.send('["1","5","device","status_update",{"status":"received"}]')
        client.ping()
        self.again(client)
        self.join(client, uuid="33333333-3333-4333-8333-333333333333")
        client.updates = 0
        self.push("q-11")  # nothing is in flight any more
        self.assertEqual(client.format.read(client.next("device"))[3], "update")
        client.close()

    def test_13_metrics_that_are_texts(self):
        client = self.joined("q-13")
        client.send('["4","4","extensions","phx_join",{"health":"0.0.1"}]')
        client.next("extensions")
        client.send('["4","5","extensions","health:attached",{}]')
        client.next("extensions")
        client.send('["4","6","extensions","health:report",{"value":{"metrics":{"cpu_usage_percent":"95.5","eth0_bytes_sent_total":"123"}}}]')
        self.silent(client)
        self.assertEqual(self.server.api("GET", f"{self.product_path}/devices/q-13/health", expect=200).data["status"], "unhealthy")
        client.close()

    def test_14_a_clock_that_is_fast(self):
        headers = nh1_headers(self.secret["key"], self.secret["secret"], "q-14", at=int(time.time()) + 60)
        client = Client(self, "q-14", "2.3.0", "/device-socket/websocket?vsn=2.0.0", headers, None)
        client.connect()
        client.close()

    def test_15_not_validated_whatever_the_version_of_the_api(self):
        self.server.api("POST", f"{self.product_path}/deployments", {"name": "fifteen", "firmware": self.fw[1]["uuid"], "state": "on", "conditions": {"version": "", "tags": ["fifteen"]}}, expect=201)
        for identifier in ("q-15", "q-15-other"):
            self.server.api("POST", f"{self.product_path}/devices", {"identifier": identifier, "tags": ["fifteen"]}, expect=201)
        client = self.joined("q-15", "2.2.0", more='"meta":{"firmware_validated":false}')
        other = self.joined("q-15-other")
        self.assertEqual(other.format.read(other.next("device"))[3], "update")  # the group's turn came, and
        self.silent(client)
        client.send('["1","5","device","firmware_validated",{}]')
        self.assertEqual(client.format.read(client.next("device"))[3], "update")
        client.close()
        other.close()

    def test_16_certificates_that_sign_themselves(self):
        self.pki.ca("q-16")
        client = Client(self, "q-16", "2.3.0", "/socket/websocket?vsn=2.0.0", {}, (self.pki.home / "q-16.crt", self.pki.home / "q-16.key"))
        with self.assertRaises((ssl.SSLError, ConnectionError, Broken)):
            client.connect()

    def test_17_a_device_that_forgets_its_download(self):
        """It comes back without a word of the update it had begun: what was sent is given up, and can be sent again."""
        client = self.joined("q-17")
        self.push("q-17")
        client.next("device")
        client.send('["1","5","device","update_progress",{"stage":"downloading","value":10}]')
        client.ping()
        self.again(client)
        self.join(client)
        client.updates = 0
        self.push("q-17")
        self.assertEqual(client.format.read(client.next("device"))[3], "update")
        self.again(client)
        self.join(client, more=VALIDATED + ',"currently_downloading_uuid":"%s"' % self.fw[1]["uuid"])
        self.assertEqual(self.server.api("POST", f"{self.product_path}/devices/q-17/upgrade", {"uuid": self.fw[1]["uuid"]}).status, 409, "one that goes on is left alone")
        client.close()


if __name__ == "__main__":
    unittest.main()
