"""`voiceauth-pam` verifies only named users at this machine, and not root."""

from __future__ import annotations

import pytest
from pam_parts import PAM_ENVIRONMENT, USER, Daemon, accept, run

from voiceauthd.client.pam_arguments import Options, read_options, require_allowed
from voiceauthd.client.pam_services import EXCLUDED_SERVICES, REMOTE_SERVICES, ROOT_SERVICES
from voiceauthd.client.remote_session import require_local
from voiceauthd.errors import DeniedError, UsageError
from voiceauthd.protocol.paths import SYSTEM_SOCKET

SSH = "4242 (sshd: ann@pts/0) S 1 4242 4242 0 -1"
"""Recent servers set this title; what counts is `comm`, in brackets: the name of the executable."""


@pytest.fixture
def machine(tmp_path):
    """A simulated /proc and /run: this process is a shell's child, in a session at this machine's seat."""

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
            return require_allowed(
                PAM_ENVIRONMENT | environment, options or Options(), proc=str(self.proc), run=str(self.run)
            )

    machine = Machine()
    machine.process("self", "20 (python) S 10 20 20 0 -1")
    machine.process("10", "10 (bash) S 5 10 10 0 -1")
    machine.process("5", "5 (login) S 1 5 5 0 -1")
    machine.process("1", "1 (systemd) S 0 1 1 0 -1")
    machine.put_in("/user.slice/user-5.slice/session-3.scope", "3")
    machine.session("3", "UID=5\nREMOTE=0\nTYPE=tty\n")
    return machine


def refusal_reason(what) -> str:
    with pytest.raises(DeniedError) as caught:
        what()
    return caught.value.reason


class TestRemoteSessions:
    def test_a_user_at_this_machine_is_local(self, machine):
        assert machine.is_local() is True
        for terminal in ("tty1", "/dev/tty1", "/dev/pts/3", ":0", ":0.0", "unix:0", "/dev/unix:0", ""):
            assert machine.is_local(PAM_TTY=terminal, PAM_RHOST="") is True

    @pytest.mark.parametrize("host", ["example.org", "127.0.0.1", " "])
    def test_a_remote_host_named_by_pam_is_remote(self, machine, host):
        assert refusal_reason(lambda: machine.is_local(PAM_RHOST=host)) == "remote"

    @pytest.mark.parametrize("terminal", ["localhost:10.0", "host:0", "::1:10.0", "ssh"])
    def test_a_display_of_another_host_is_remote(self, machine, terminal):
        assert refusal_reason(lambda: machine.is_local(PAM_TTY=terminal)) == "remote"

    @pytest.mark.parametrize("text", ["REMOTE=1\n", "UID=5\nREMOTE=1\nSEAT=\n", "REMOTE=0\nREMOTE_HOST=elsewhere\n"])
    def test_a_session_that_logind_calls_remote_is_remote(self, machine, text):
        machine.session("c7", text)
        machine.session("8", text)
        assert machine.is_local() is True
        machine.put_in("/user.slice/user-5.slice/session-c7.scope")
        assert refusal_reason(machine.is_local) == "remote"
        machine.put_in("/user.slice/user-5.slice/user@5.service/app.slice", "8")
        assert refusal_reason(machine.is_local) == "remote"

    @pytest.mark.parametrize("name", ["sshd", "sshd-session", "mosh-server", "x2gostartagent"])
    def test_a_descendant_of_a_remote_login_server_is_remote(self, machine, name):
        machine.process("5", f"5 ({name[:15]}) S 1 5 5 0 -1")
        assert refusal_reason(machine.is_local) == "remote"

    def test_a_process_may_have_any_name(self, machine):
        for name in ("", ")", "a) S 1 (", "(((", "x" * 15, "\n", "sshd) S 1 1 (x", "\ud7ff"):
            machine.process("10", f"10 ({name}) S 5 10 10 0 -1")
            assert machine.is_local() is True
            machine.process("5", "5 (sshd) S 1 5 5 0 -1")
            assert refusal_reason(machine.is_local) == "remote"
            machine.process("5", "5 (login) S 1 5 5 0 -1")

    def test_unreadable_sources_are_ignored(self, machine, tmp_path):
        """With a race, hidden processes or no logind, only PAM's own variables count."""
        (machine.proc / "10" / "stat").unlink()
        assert machine.is_local() is True
        machine.process("10", "")
        assert machine.is_local() is True
        machine.process("10", "10 (bash) S")
        assert machine.is_local() is True
        machine.put_in("/user.slice/session-../../etc/x.scope", "../..")
        assert machine.is_local() is True
        assert require_local({}, str(tmp_path / "none"), str(tmp_path / "none")) is True
        assert refusal_reason(lambda: require_local({"PAM_RHOST": "x"}, str(tmp_path / "none"), "")) == "remote"

    def test_a_cycle_of_processes_ends(self, machine):
        machine.process("5", "5 (login) S 10 5 5 0 -1")
        assert machine.is_local() is True

    @pytest.mark.usefixtures("local")
    def test_the_session_of_this_test_is_local(self):
        assert require_local({}) is True


class TestAllowedRequests:
    def test_a_user_at_this_machine_is_allowed(self, machine):
        assert machine.allows() == USER

    @pytest.mark.parametrize("kind", ["account", "AUTH", ""])
    def test_only_authentication_is_allowed(self, machine, kind):
        assert refusal_reason(lambda: machine.allows(PAM_TYPE=kind)) == "not_auth"

    def test_a_user_without_a_name_or_an_account_is_refused(self, machine):
        for name in ("", "no-such-user", "../games", "games\n", "\udcff", "x" * 5000):
            assert refusal_reason(lambda name=name: machine.allows(PAM_USER=name)) == "no_user"
        assert refusal_reason(lambda: machine.allows(PAM_SERVICE="")) == "no_service"
        assert refusal_reason(lambda: require_allowed({}, Options())) == "not_auth"

    @pytest.mark.parametrize("allow_root", [False, True])
    def test_excluded_and_remote_services_are_always_refused(self, machine, allow_root):
        options = Options(allow_root=allow_root)
        for service in sorted(EXCLUDED_SERVICES):
            assert refusal_reason(lambda service=service: machine.allows(options, PAM_SERVICE=service)) == "never"
        for service in sorted(REMOTE_SERVICES):
            assert refusal_reason(lambda service=service: machine.allows(options, PAM_SERVICE=service)) == "remote"
        assert {"voiceauthd", "other"} <= EXCLUDED_SERVICES
        assert "sshd" in REMOTE_SERVICES

    def test_root_is_refused_unless_allowed(self, machine):
        assert {"sudo", "sudo-i", "su", "su-l", "doas", "polkit-1", "pkexec", "runuser"} <= ROOT_SERVICES
        allowed = Options(allow_root=True)
        for changed in ({"PAM_USER": "root"}, *({"PAM_SERVICE": service} for service in sorted(ROOT_SERVICES))):
            assert refusal_reason(lambda changed=changed: machine.allows(**changed)) == "root"
            assert machine.allows(allowed, **changed) == changed.get("PAM_USER", USER)
        assert refusal_reason(lambda: machine.allows(PAM_SERVICE="SUDO")) == "root"

    @pytest.mark.parametrize("program", ["sudo", "pkexec"])
    def test_a_program_that_grants_root_is_recognised_whatever_its_service_is_called(self, machine, program):
        machine.process("5", f"5 ({program}) S 1 5 5 0 -1")
        assert refusal_reason(lambda: machine.allows(PAM_SERVICE="company-login")) == "root"
        assert machine.allows(Options(allow_root=True), PAM_SERVICE="company-login") == USER

    def test_a_locker_below_an_earlier_sudo_does_not_count_as_root(self, machine):
        machine.process("5", "5 (swaylock) S 1 5 5 0 -1")
        machine.process("1", "1 (sudo) S 0 1 1 0 -1")
        assert machine.allows(PAM_SERVICE="swaylock") == USER

    def test_a_remote_user_is_refused_even_with_allow_root(self, machine):
        assert refusal_reason(lambda: machine.allows(Options(allow_root=True), PAM_RHOST="x")) == "remote"


class TestArguments:
    def test_all_arguments(self):
        assert read_options([]) == Options(6.0, SYSTEM_SOCKET, None, "unlock", False)
        given = "--timeout 2.5 --socket /s --daemon-user a --daemon-user=b --policy auth --allow-root --timeout=3"
        assert read_options(given.split()) == Options(3.0, "/s", ("a", "b"), "auth", True)

    @pytest.mark.parametrize(
        "arguments",
        [
            "--timeout", "--timeout 0.9", "--timeout 61", "--timeout nan", "--timeout x", "--socket relative",
            "--policy monitor", "--allow-root=no", "--allow", "-t 3", "extra", "--",
        ],
    )  # fmt: skip
    def test_invalid_arguments_are_refused(self, arguments):
        with pytest.raises(UsageError):
            read_options(arguments.split())


FORBIDDEN = {
    "another host": {"PAM_RHOST": "example.org"},
    "another host's display": {"PAM_TTY": "localhost:10.0"},
    "an account phase": {"PAM_TYPE": "account"},
    "root": {"PAM_USER": "root"},
    "no user": {"PAM_USER": ""},
    "sudo": {"PAM_SERVICE": "sudo"},
    "the owner's proof": {"PAM_SERVICE": "voiceauthd"},
    "ssh": {"PAM_SERVICE": "sshd"},
    "no service": {"PAM_SERVICE": ""},
}


@pytest.mark.usefixtures("local")
class TestTheExecutable:
    @pytest.fixture
    def daemon(self, fixed):
        """A daemon that accepts everybody."""
        with Daemon(fixed / "socket", lambda request: [accept(request)]) as daemon:
            yield daemon

    @pytest.mark.parametrize("what", FORBIDDEN)
    def test_a_forbidden_request_is_refused_without_asking_the_daemon(self, daemon, what):
        ended = run(daemon.path, environment=PAM_ENVIRONMENT | FORBIDDEN[what])
        assert (ended.code, ended.lines, daemon.calls) == (1, [], [])

    def test_root_and_sudo_are_accepted_with_allow_root(self, daemon):
        for changed in ({"PAM_USER": "root"}, {"PAM_SERVICE": "sudo"}):
            assert run(daemon.path, "--allow-root", environment=PAM_ENVIRONMENT | changed).code == 0
        assert [call["parameters"]["name"] for call in daemon.calls] == ["root", USER]

    def test_the_named_policy_is_requested(self, daemon):
        assert run(daemon.path, "--policy", "auth").code == 0
        assert daemon.calls[0]["parameters"]["policy"] == "auth"
        assert run(daemon.path, "--policy", "monitor").code == 1
        assert len(daemon.calls) == 1

    def test_below_a_remote_login_server_the_daemon_is_not_asked(self, daemon, tmp_path):
        """The server is a copy of a shell with its name."""
        import shutil
        import subprocess

        from pam_parts import PROGRAM, owner_arguments

        server = tmp_path / "sshd"
        shutil.copy(shutil.which("sh"), server)
        program = [str(PROGRAM), "--socket", str(daemon.path), *owner_arguments()]
        line = 'echo "$(cat /proc/$$/comm)"; "$@"; echo "$?"'
        ended = subprocess.run(
            [server, "-c", line, "sshd", *program],
            env=PAM_ENVIRONMENT | {"PATH": "/usr/bin:/bin"},
            capture_output=True,
            check=True,
        )
        assert ended.stdout.decode().split() == ["sshd", "1"]
        assert daemon.calls == []
