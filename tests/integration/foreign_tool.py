"""Another maker's tool: provisions and reads NervesKeys at /dev/i2c-1 as other people's drivers do, and shares no code with the project. Started by test_nerveskey_foreign.py under the preloaded library;
prints JSON. The certificates are built here, from their description, and signed by the openssl program."""

import ctypes
import datetime
import fcntl
import hashlib
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

from simulator import WAKE_ANSWER, crc16, packet

SLAVE, RDWR = 0x0703, 0x0707
READ, WRITE, NONCE, LOCK, GENKEY, SIGN = 0x02, 0x12, 0x16, 0x17, 0x40, 0x41
CONFIG, OTP, DATA, BLOCK = 0, 1, 2, 0x80
SIZES = [36] * 8 + [416] + [72] * 7


# ---- the drivers, as they were seen on the wire


class Plain:
    """I2C_SLAVE, then read and write."""

    def __init__(self, fd):
        self.fd = fd

    def write(self, address, data):
        fcntl.ioctl(self.fd, SLAVE, address)
        os.write(self.fd, data)

    def read(self, address, count):
        fcntl.ioctl(self.fd, SLAVE, address)
        return os.read(self.fd, count)


class Messages:
    """I2C_RDWR, one message at a time."""

    def __init__(self, fd):
        self.fd = fd

    def transfer(self, address, flags, buffer):
        message = ctypes.create_string_buffer(struct.pack("@HHHP", address, flags, len(buffer), ctypes.addressof(buffer)))
        fcntl.ioctl(self.fd, RDWR, struct.pack("@PI4x", ctypes.addressof(message), 1))
        return buffer.raw

    def write(self, address, data):
        self.transfer(address, 0, ctypes.create_string_buffer(data, len(data)))

    def read(self, address, count):
        return self.transfer(address, 1, ctypes.create_string_buffer(count))


class Driver:
    """
    vendor    Microchip's cryptoauthlib 3.7 with its Linux HAL: a 1 written to address 0, the wake answer read, the read pointer reset before each look, the count by itself, idle after each command.
    breakout  Adafruit's CircuitPython driver 1.3 under Blinka: wakes twice and again before it reads, never looks at the wake answer, reads as many bytes as it expects, idle after each command.
    module    nerves_key_pkcs11 1.3: the whole answer in one read, sleep after each transaction, three more bytes behind GenKey's fields.
    """

    STYLES = {  # access, what is written to address 0, pulses before a command, one before the answer, wake answer read, pointer reset, word address at the end
        "vendor": (Plain, b"\1", 1, False, True, True, b"\2"),
        "breakout": (Messages, b"\0", 2, True, False, False, b"\2"),
        "module": (Messages, b"\0", 1, False, True, False, b"\1"),
    }

    def __init__(self, style):
        self.access, self.pulse_byte, self.pulses, self.pulse_again, self.looks, self.resets, self.last = self.STYLES[style]
        self.bus = self.access(os.open("/dev/i2c-1", os.O_RDWR))
        self.other_data = bytes(3) if style == "module" else b""

    def pulse(self):
        try:
            self.bus.write(0, self.pulse_byte)
        except OSError:
            return
        raise AssertionError("somebody acknowledged the general call")

    def answer(self, expected):
        while True:
            try:
                if self.resets:
                    self.bus.write(0x60, b"\0")
                    count = self.bus.read(0x60, 1)
                    return count + self.bus.read(0x60, count[0] - 1)
                return self.bus.read(0x60, expected + 3)
            except OSError:
                pass  # at work

    def __call__(self, *commands):
        """Commands of one transaction, each with the length of its answer. What the last one answers; a status is one byte."""
        for _ in range(self.pulses):
            self.pulse()
        if self.looks and self.bus.read(0x60, 4) != WAKE_ANSWER:
            raise AssertionError("another answer to wake")
        for opcode, param1, param2, data, expected in commands:
            self.bus.write(0x60, b"\3" + packet(opcode, param1, param2, data))
            if self.pulse_again:
                self.pulse()
            reply = self.answer(expected)
            reply = reply[:reply[0]]
            if crc16(reply[:-2]) != reply[-2:]:
                raise AssertionError(f"garbled: {reply.hex()}")
            payload = reply[1:-2]
            if len(payload) != expected or (expected == 1 and payload != b"\0"):
                raise AssertionError(f"{opcode:02x} {param1:02x} {param2:04x}: {payload.hex()}")
        self.bus.write(0x60, self.last)
        return payload

    def read(self, zone, slot, length):
        """Blocks, and words for the rest."""
        data = b""
        while len(data) < length:
            block, word = divmod(len(data), 32)
            whole = length - len(data) >= 32
            address = block << 8 | slot << 3 | word // 4 if zone == DATA else block << 3 | word // 4
            data += self((READ, zone | (BLOCK if whole else 0), address, b"", 32 if whole else 4))
        return data[:length]

    def public_key(self, create=False):
        return self((GENKEY, 4, 0, b"", 64)) if create else self((GENKEY, 0, 0, self.other_data, 64))


# ---- certificates


def tlv(tag, *parts):
    body = b"".join(parts)
    length = bytes([len(body)]) if len(body) < 128 else bytes([0x81, len(body)]) if len(body) < 256 else b"\x82" + len(body).to_bytes(2, "big")
    return bytes([tag]) + length + body


def sequence(*parts):
    return tlv(0x30, *parts)


def oid(text):
    return bytes.fromhex({"cn": "0603550403", "ecdsa": "06082a8648ce3d040302", "basic": "0603551d13", "usage": "0603551d0f", "extended": "0603551d25", "ski": "0603551d0e", "aki": "0603551d23",
                          "server": "06082b06010505070301", "client": "06082b06010505070302"}[text])


def spki(public_key):
    return bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004") + public_key


def identifier(public_key):
    return hashlib.sha1(spki(public_key)).digest()


def name(text):
    return sequence(tlv(0x31, sequence(oid("cn"), tlv(0x0C, text.encode()))))


def time(moment):
    return tlv(0x17, moment.strftime("%y%m%d%H%M%SZ").encode()) if moment.year < 2050 else tlv(0x18, moment.strftime("%Y%m%d%H%M%SZ").encode())


def dates_of(moment, years):
    return ((moment.year - 2000) << 19 | moment.month << 15 | moment.day << 10 | moment.hour << 5 | years).to_bytes(3, "big")


def extension(which, value, critical=False):
    return sequence(oid(which), b"\1\1\xff" if critical else b"", tlv(4, value))


def tbs(subject, dates, serial_input, public_key, signer_key, extensions):
    bits = int.from_bytes(dates, "big")
    start = datetime.datetime(2000 + (bits >> 19), bits >> 15 & 15, bits >> 10 & 31, bits >> 5 & 31)
    serial = bytearray(hashlib.sha256(serial_input + dates).digest()[:16])
    serial[0] = serial[0] & 0x3F | 0x40
    authority = extension("aki", sequence(tlv(0x80, identifier(signer_key))))
    return sequence(tlv(0xA0, b"\2\1\2"), tlv(2, bytes(serial)), sequence(oid("ecdsa")), name("Signer"), sequence(time(start), time(start.replace(year=start.year + (bits & 31)))), name(subject),
                    spki(public_key), tlv(0xA3, sequence(*extensions, authority)))


def device_tbs(subject, dates, chip_serial, public_key, signer_key):
    return tbs(subject, dates, chip_serial, public_key, signer_key,
               (extension("basic", sequence()), extension("usage", bytes.fromhex("030205a0"), True), extension("extended", sequence(oid("client")))))


def signer_tbs(dates, key):
    return tbs("Signer", dates, key, key, key,
               (extension("basic", bytes.fromhex("30060101ff020100"), True), extension("usage", bytes.fromhex("03020186"), True), extension("extended", sequence(oid("server"), oid("client"))),
                extension("ski", tlv(4, identifier(key)))))


def signature_der(raw):
    def number(part):
        part = part.lstrip(b"\0")
        return tlv(2, b"\0" * (part[0] >> 7) + part)

    return sequence(number(raw[:32]), number(raw[32:]))


def signature_raw(der):
    r, s = der[4:4 + der[3]], der[6 + der[3]:]
    return b"".join(part.lstrip(b"\0").rjust(32, b"\0") for part in (r, s))


def certificate(body, signature):
    return sequence(body, sequence(oid("ecdsa")), tlv(3, b"\0", signature_der(signature)))


def openssl(*args, data=b""):
    return subprocess.run(["openssl", *args], input=data, stdout=subprocess.PIPE, check=True, env={k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}).stdout


# ---- what it does


def config_image(config):
    config = bytearray(config)
    config[18:20] = b"\xaa\0"
    config[20:52] = bytes.fromhex("8720" + "0f0f" * 9 + "0f2f" * 4 + "0f0f" * 2)
    config[92:96] = bytes(4)
    config[96:128] = bytes.fromhex("3300" + "1c00" * 7 + "3c00" * 3 + "3000" + "3c00" * 4)
    return bytes(config)


def provision(driver, subject, folder, stop):
    """Both certificates; nothing where it stops before the step of that name. Begins behind the lock of the configuration where that is set and right."""
    key = str(folder / "foreign.key")
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key)
    signer_key = openssl("ec", "-in", key, "-pubout", "-outform", "DER")[-64:]
    now = datetime.datetime.now(datetime.timezone.utc).replace(day=1, tzinfo=None)
    signer = signer_tbs(dates_of(now, 20), signer_key)
    signer_signature = signature_raw(openssl("dgst", "-sha256", "-sign", key, data=signer))
    found = driver.read(CONFIG, 0, 128)
    config = config_image(found)
    chip_serial = config[:4] + config[8:13]
    state = {}

    def write_config():
        for word in [*range(4, 21), *range(23, 32)]:
            driver((WRITE, CONFIG, word, config[4 * word:4 * word + 4], 1))

    def lock_config():
        driver((LOCK, 0, int.from_bytes(crc16(config), "little"), b"", 1))

    def write_otp():
        state["otp"] = b"Nrvs" + (len(subject) > 16).to_bytes(2, "big") + b"foreign".ljust(10, b"\0") + subject.encode().ljust(48, b"\0")
        for block in (0, 1):
            driver((WRITE, OTP | BLOCK, block << 3, state["otp"][32 * block:32 * block + 32], 1))

    def make_key():
        device = device_tbs(subject, dates_of(now, 31), chip_serial, driver.public_key(create=True), signer_key)
        signature = signature_raw(openssl("dgst", "-sha256", "-sign", key, data=device))
        state["device"] = certificate(device, signature)
        state["slots"] = {10: signature + dates_of(now, 31) + bytes.fromhex("000000b000"), 11: signer_key, 12: signer_signature + dates_of(now, 20) + bytes.fromhex("000010a000")}

    def write_slots():
        for slot in range(1, 16):
            data = state["slots"].get(slot, b"").ljust(-(-SIZES[slot] // 32) * 32, b"\0")
            for block in range(len(data) // 32):
                driver((WRITE, DATA | BLOCK, block << 8 | slot << 3, data[32 * block:32 * block + 32], 1))

    def lock_data():
        whole = b"".join(state["slots"].get(slot, b"").ljust(SIZES[slot], b"\0") for slot in range(1, 16)) + state["otp"]
        driver((LOCK, 1, int.from_bytes(crc16(whole), "little"), b"", 1))

    def lock_slot():
        driver((LOCK, 2, 0, b"", 1))

    configure = () if found[87] == 0 and config == found else (write_config, lock_config)
    for step in (*configure, write_otp, make_key, write_slots, lock_data, lock_slot):
        if step.__name__ == stop:
            return {}
        step()
    return {"device": state["device"].hex(), "signer": certificate(signer, signer_signature).hex()}


def read(driver, folder):
    """What it makes of somebody's NervesKey: the pairs of certificates it has, and a signature over a text."""
    config, otp, public_key = driver.read(CONFIG, 0, 128), driver.read(OTP, 0, 64), driver.public_key()
    subject = otp[16:64 if otp[5] else 32].rstrip(b"\0").decode()
    found = {"serial": subject, "board": otp[6:16].rstrip(b"\0").decode(), "user_data": "" if otp[5] else otp[32:].hex(), "public_key": public_key.hex()}
    for pair, device_slot, key_slot, signer_slot in (("", 10, 11, 12), ("aux_", 9, 14, 15)):
        signer_key, device, signer = (driver.read(DATA, slot, length) for slot, length in ((key_slot, 64), (device_slot, 72), (signer_slot, 72)))
        if device == bytes(72):
            continue
        body = device_tbs(subject, device[64:67], config[:4] + config[8:13], public_key, signer_key)
        found[pair + "device"] = certificate(body, device[:64]).hex()
        found[pair + "signer"] = certificate(signer_tbs(signer[64:67], signer_key), signer[:64]).hex()
    signed = driver((NONCE, 3, 0, hashlib.sha256(b"a text").digest(), 1), (SIGN, 0x80, 0, b"", 64))
    (folder / "signature").write_bytes(signature_der(signed))
    return found


def main(what, style, folder, *more):
    driver = Driver(style)
    print(json.dumps(provision(driver, more[0], Path(folder), more[1] if more[1:] else None) if what == "provision" else read(driver, Path(folder))))


if __name__ == "__main__":
    main(*sys.argv[1:])
