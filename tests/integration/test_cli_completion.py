"""Completion of `nh` in real shells, with names that a real server knows."""

import os
import pty
import re
import select
import signal
import subprocess
import unittest

from clitest import CliCase
from nhtest import DEADLINE, program

# What bash does at a TAB: words as it splits them, the function, the candidates.
BASH = r"""
complete() { :; }  # our function is called, not registered
compopt() { echo FILES; }
source <(nh completion bash)
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_nh
printf '%s\n' "${COMPREPLY[@]}"
"""


class Completion(CliCase):
    @classmethod
    def prepare(cls):
        super().prepare()
        bin_dir = cls.home / "bin"
        bin_dir.mkdir()
        (bin_dir / "nh").symlink_to(program("nh"))
        cls.path = f"{bin_dir}:{os.environ['PATH']}"
        for name in ("hall-1", "hall-2", "roof"):
            cls.nh("device", "create", name)

    def shell(self, *args, **kwargs):
        done = subprocess.run(args, capture_output=True, text=True, timeout=DEADLINE, cwd=self.home, env=self.environment(PATH=self.path, NERVES_HUB_COMPLETION_TIMEOUT=str(DEADLINE)), **kwargs)
        self.assertEqual(done.stderr, "")
        return done.stdout.splitlines()

    def test_bash(self):
        for words, expected in [
            (["nh", "dev"], ["device"]),
            (["nh", "device", "show", "hall"], ["hall-1", "hall-2"]),
            (["nh", "device", "list", "--out"], ["--output"]),
            (["nh", "device", "list", "--output", "=", "j"], ["json"]),  # = is a word of its own there
            (["nh", "device", "list", "--output", "="], ["table", "json", "csv"]),
            (["nh", "device", "upgrade", "roof", ""], [""]),
            (["nh", "--product", "widget", "product", "delete", ""], ["widget"]),
            (["nh", "firmware", "upload", ""], ["FILES", ""]),
            (["nh", "org", "invite", "a@b.c", "v"], ["view"]),
        ]:
            with self.subTest(words=words):
                self.assertEqual(self.shell("bash", "-c", BASH, "bash", *words), expected)

    def test_fish(self):
        for line, expected in [
            ("nh device reb", ["reboot\task a device to reboot"]),
            ("nh device show hall", ["hall-1", "hall-2"]),
            ("nh device list --output=c", ["--output=csv"]),
            ("nh org invite a@b.c v", ["view"]),
        ]:
            with self.subTest(line=line):
                self.assertEqual(self.shell("fish", "--no-config", "-c", "nh completion fish | source; complete -C $argv", line), expected)

    def test_zsh(self):
        """Only a zsh with a terminal completes: what it shows after TAB."""
        pid, fd = pty.fork()
        if pid == 0:
            os.execvpe("zsh", ["zsh", "-f"], self.environment(PATH=self.path, NERVES_HUB_COMPLETION_TIMEOUT=str(DEADLINE), TERM="dumb", ZDOTDIR=str(self.home)))
        try:
            self.say(fd, "PS1='re''ady>'; autoload -U compinit && compinit -u -D; source <(nh completion zsh); unset zle_bracketed_paste\n", "ready>")
            self.say(fd, "nh device show h\t", "hall-")  # as far as the two agree
            self.say(fd, "2\n", "Identifier:")
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            os.close(fd)

    def say(self, fd, text, until):
        os.write(fd, text.encode())
        seen = ""
        while until not in self.plain(seen):
            self.assertTrue(select.select([fd], [], [], DEADLINE)[0], f"{until!r} did not come: {seen!r}")
            seen += os.read(fd, 65536).decode(errors="replace")
        return self.plain(seen)

    @staticmethod
    def plain(text):
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|[\r\a]", "", text)


if __name__ == "__main__":
    unittest.main()
