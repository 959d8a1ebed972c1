"""`voiceauth-pam` asks for those only whom a voice may let in: here, by name, and not as root."""

from __future__ import annotations

import pytest
from pam_parts import ASKED, USER, Daemon, accept, run

from voiceauthd.client.pam_arguments import Options, read_options, require_allowed
from voiceauthd.client.pam_services import GIVES_ROOT, NEVER, REMOTE
from voiceauthd.client.remote_session import require_local
from voiceauthd.errors import DeniedError, UsageError
from voiceauthd.protocol.paths import SYSTEM_SOCKET

SSH = "4242 (sshd: ann@pts/0) S 1 4242 4242 0 -1"
"""Newer servers name themselves so; the name of the file is what counts, which is `comm`, in brackets."""


@pytest.fixture
def machine(tmp_path):
    """A made-up /proc and /run: this process is a shell's child, in a session at this machine's seat."""

    class Machine:
        proc, run = tmp_path / "proc", tmp_path / "run"

        def process(self, pid: str, line: str) -> None:
            (self.proc / pid).mkdir(parents=True, exist_ok=True)
            (self.proc / pid / "stat").write_text(line)

        def session(self, name: str, text: str) -> None:
            (self.run / "systemd" / "sessions").mkdir(parents=True, exist_ok=True)
            (self.run / "systemd" / "sessions" / name).write_text(text)

        def put_in(self, group: str, audit_session: str = "4294967295") -> None:
            (self.proc / "self" / "cgroup").write_text(f"0::{group}\n")
            (self.proc / "self" / "sessionid").write_text(audit_session)

        def is_local(self, **environment: str) -> bool:
            return require_local(environment, str(self.proc), str(self.run))

        def allows(self, options: Options | None = None, **environment: str) -> str:
            return require_allowed(ASKED | environment, options or Options(), proc=str(self.proc), run=str(self.run))

    machine = Machine()
    machine.process("self", "20 (python) S 10 20 20 0 -1")
    machine.process("10", "10 (bash) S 5 10 10 0 -1")
    machine.process("5", "5 (login) S 1 5 5 0 -1")
    machine.process("1", "1 (systemd) S 0 1 1 0 -1")
    machine.put_in("/user.slice/user-5.slice/session-3.scope", "3")
    machine.session("3", "UID=5\nREMOTE=0\nTYPE=tty\n")
    return machine


def refused(what) -> str:
    with pytest.raises(DeniedError) as caught:
        what()
    return caught.value.reason


class TestRemoteSessions:
    def test_somebody_at_this_machine_is_local(self, machine):
        assert machine.is_local() is True
        for terminal in ("tty1", "/dev/tty1", "/dev/pts/3", ":0", ":0.0", "unix:0", "/dev/unix:0", ""):
            assert machine.is_local(PAM_TTY=terminal, PAM_RHOST="") is True

    @pytest.mark.parametrize("host", ["example.org", "::1", "127.0.0.1", "localhost", " ", "0"])
    def test_whoever_pam_calls_remote_is(self, machine, host):
        assert refused(lambda: machine.is_local(PAM_RHOST=host)) == "remote"

    @pytest.mark.parametrize("terminal", ["localhost:10.0", "host:0", "host:10.0", "::1:10.0", "10.0.0.7:0", "ssh"])
    def test_a_display_of_another_host_is_remote(self, machine, terminal):
        assert refused(lambda: machine.is_local(PAM_TTY=terminal)) == "remote"

    @pytest.mark.parametrize("text", ["REMOTE=1\n", "UID=5\nREMOTE=1\nSEAT=\n", "REMOTE=0\nREMOTE_HOST=elsewhere\n"])
    def test_a_session_that_logind_calls_remote_is(self, machine, text):
        machine.session("c7", text)
        machine.session("8", text)
        assert machine.is_local() is True
        machine.put_in("/user.slice/user-5.slice/session-c7.scope")
        assert refused(machine.is_local) == "remote"
        machine.put_in("/user.slice/user-5.slice/user@5.service/app.slice", "8")
        assert refused(machine.is_local) == "remote"

    @pytest.mark.parametrize(
        "name",
        ["sshd", "sshd-session", "dropbear", "mosh-server", "in.telnetd", "rlogind", "xrdp-sesman", "cockpit-session"],
    )
    def test_a_descendant_of_a_remote_logins_server_is_remote(self, machine, name):
        machine.process("5", f"5 ({name[:15]}) S 1 5 5 0 -1")
        assert refused(machine.is_local) == "remote"

    def test_a_process_may_have_any_name(self, machine):
        for name in ("", ")", "a) S 1 (", "(((", "x" * 15, "\n", "sshd) S 1 1 (x", "\ud7ff"):
            machine.process("10", f"10 ({name}) S 5 10 10 0 -1")
            assert machine.is_local() is True
            machine.process("5", "5 (sshd) S 1 5 5 0 -1")
            assert refused(machine.is_local) == "remote"
            machine.process("5", "5 (login) S 1 5 5 0 -1")

    def test_what_cannot_be_read_says_nothing(self, machine, tmp_path):
        """A race, hidden processes, no logind: then PAM's own word counts alone."""
        (machine.proc / "10" / "stat").unlink()
        assert machine.is_local() is True
        machine.process("10", "")
        assert machine.is_local() is True
        machine.process("10", "10 (bash) S")
        assert machine.is_local() is True
        machine.put_in("/user.slice/session-../../etc/x.scope", "../..")
        assert machine.is_local() is True
        assert require_local({}, str(tmp_path / "none"), str(tmp_path / "none")) is True
        assert refused(lambda: require_local({"PAM_RHOST": "x"}, str(tmp_path / "none"), "")) == "remote"

    def test_processes_in_a_circle_end(self, machine):
        machine.process("5", "5 (login) S 10 5 5 0 -1")
        assert machine.is_local() is True

    @pytest.mark.usefixtures("local")
    def test_this_one_is_local_for_the_kernel_too(self):
        assert require_local({}) is True


class TestWhoIsAskedFor:
    def test_a_user_at_this_machine(self, machine):
        assert machine.allows() == USER

    @pytest.mark.parametrize("kind", ["account", "session", "password", "open_session", "AUTH", ""])
    def test_nothing_but_who_somebody_is(self, machine, kind):
        assert refused(lambda: machine.allows(PAM_TYPE=kind)) == "not_auth"

    def test_nobody_without_a_name_or_an_account(self, machine):
        for name in ("", "no-such-user", "../games", "games\n", "\udcff", "x" * 5000):
            assert refused(lambda name=name: machine.allows(PAM_USER=name)) == "no_user"
        assert refused(lambda: machine.allows(PAM_SERVICE="")) == "no_service"
        assert refused(lambda: require_allowed({}, Options())) == "not_auth"

    @pytest.mark.parametrize("allow_root", [False, True])
    def test_some_services_never(self, machine, allow_root):
        options = Options(allow_root=allow_root)
        for service in sorted(NEVER):
            assert refused(lambda service=service: machine.allows(options, PAM_SERVICE=service)) == "never"
        for service in sorted(REMOTE):
            assert refused(lambda service=service: machine.allows(options, PAM_SERVICE=service)) == "remote"
        assert {"voiceauthd", "other"} <= NEVER
        assert "sshd" in REMOTE

    def test_root_only_if_that_was_allowed(self, machine):
        assert {"sudo", "sudo-i", "su", "su-l", "doas", "polkit-1", "pkexec", "runuser"} <= GIVES_ROOT
        allowed = Options(allow_root=True)
        for changed in ({"PAM_USER": "root"}, *({"PAM_SERVICE": service} for service in sorted(GIVES_ROOT))):
            assert refused(lambda changed=changed: machine.allows(**changed)) == "root"
            assert machine.allows(allowed, **changed) == changed.get("PAM_USER", USER)
        assert refused(lambda: machine.allows(PAM_SERVICE="SUDO")) == "root"

    @pytest.mark.parametrize("program", ["sudo", "su", "doas", "pkexec"])
    def test_root_only_if_that_was_allowed_whatever_the_program_calls_its_service(self, machine, program):
        machine.process("5", f"5 ({program}) S 1 5 5 0 -1")
        assert refused(lambda: machine.allows(PAM_SERVICE="company-login")) == "root"
        assert machine.allows(Options(allow_root=True), PAM_SERVICE="company-login") == USER

    def test_a_locker_that_somebody_started_by_sudo_gives_no_root(self, machine):
        machine.process("5", "5 (swaylock) S 1 5 5 0 -1")
        machine.process("1", "1 (sudo) S 0 1 1 0 -1")
        assert machine.allows(PAM_SERVICE="swaylock") == USER

    def test_who_is_remote_is_refused_whatever_is_allowed(self, machine):
        assert refused(lambda: machine.allows(Options(allow_root=True), PAM_RHOST="x")) == "remote"


class TestArguments:
    def test_all_that_there_are(self):
        assert read_options([]) == Options(6.0, SYSTEM_SOCKET, None, "unlock", False)
        given = "--timeout 2.5 --socket /s --daemon-user a --daemon-user=b --policy auth --allow-root --timeout=3"
        assert read_options(given.split()) == Options(3.0, "/s", ("a", "b"), "auth", True)

    @pytest.mark.parametrize(
        "arguments",
        [
            "--timeout", "--timeout 0.9", "--timeout 61", "--timeout nan", "--timeout inf", "--timeout -1",
            "--timeout x", "--timeout=", "--socket relative", "--socket=", "--policy monitor", "--policy UNLOCK",
            "--policy", "--allow-root=no", "--allow-root=", "--daemon-user", "--allow", "-t 3", "extra", "--",
            "--allowroot",
        ],
    )  # fmt: skip
    def test_what_makes_no_sense_is_refused(self, arguments):
        with pytest.raises(UsageError):
            read_options(arguments.split())


FORBIDDEN = {
    "another host": {"PAM_RHOST": "example.org"},
    "another host's display": {"PAM_TTY": "localhost:10.0"},
    "an account phase": {"PAM_TYPE": "account"},
    "no type": {"PAM_TYPE": ""},
    "root": {"PAM_USER": "root"},
    "nobody": {"PAM_USER": ""},
    "sudo": {"PAM_SERVICE": "sudo"},
    "su": {"PAM_SERVICE": "su"},
    "polkit": {"PAM_SERVICE": "polkit-1"},
    "the owner's proof": {"PAM_SERVICE": "voiceauthd"},
    "ssh": {"PAM_SERVICE": "sshd"},
    "no service": {"PAM_SERVICE": ""},
}


@pytest.mark.usefixtures("local")
class TestTheExecutable:
    @pytest.fixture
    def daemon(self, fixed):
        """One who accepts everybody."""
        with Daemon(fixed / "socket", lambda asked: [accept(asked)]) as daemon:
            yield daemon

    @pytest.mark.parametrize("what", FORBIDDEN)
    def test_asks_for_nobody_whom_a_voice_may_not_let_in(self, daemon, what):
        ended = run(daemon.path, environment=ASKED | FORBIDDEN[what])
        assert (ended.code, ended.lines, daemon.asked) == (1, [], [])

    def test_asks_for_root_and_for_sudo_where_that_is_allowed(self, daemon):
        for changed in ({"PAM_USER": "root"}, {"PAM_SERVICE": "sudo"}):
            assert run(daemon.path, "--allow-root", environment=ASKED | changed).code == 0
        assert [call["parameters"]["name"] for call in daemon.asked] == ["root", USER]

    def test_asks_by_the_policy_that_was_named(self, daemon):
        assert run(daemon.path, "--policy", "auth").code == 0
        assert daemon.asked[0]["parameters"]["policy"] == "auth"
        assert run(daemon.path, "--policy", "monitor").code == 1
        assert len(daemon.asked) == 1

    def test_below_a_remote_logins_server_asks_nobody(self, daemon, tmp_path):
        """A copy of a shell that goes by the server's name."""
        import shutil
        import subprocess

        from pam_parts import PROGRAM, owner_arguments

        server = tmp_path / "sshd"
        shutil.copy(shutil.which("sh"), server)
        program = [str(PROGRAM), "--socket", str(daemon.path), *owner_arguments()]
        line = 'echo "$(cat /proc/$$/comm)"; "$@"; echo "$?"'
        ended = subprocess.run(
            [server, "-c", line, "sshd", *program],
            env=ASKED | {"PATH": "/usr/bin:/bin"},
            capture_output=True,
            check=True,
        )
        assert ended.stdout.decode().split() == ["sshd", "1"]
        assert daemon.asked == []
