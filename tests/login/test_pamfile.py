"""Parsing PAM files, placing the block, and removing it without a trace."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voiceauthd.errors import StorageError, UsageError
from voiceauthd.login.block import BEGIN, END, Block, find, with_block, without_block
from voiceauthd.login.pamfile import decode, lines_of, parse
from voiceauthd.login.stack import find_insertion_point

HELPER = "/usr/bin/voiceauth-pam"

COMMON = """\
auth\t[success=1 default=ignore]\tpam_unix.so nullok
auth\trequisite\t\t\tpam_deny.so
auth\trequired\t\t\tpam_permit.so
auth\toptional\t\t\tpam_cap.so
"""
ARCH = """\
auth       required                    pam_faillock.so      preauth
-auth      [success=2 default=ignore]  pam_systemd_home.so
auth       [success=1 default=bad]     pam_unix.so          try_first_pass nullok
auth       [default=die]               pam_faillock.so      authfail
auth       optional                    pam_permit.so
auth       required                    pam_env.so
auth       required                    pam_faillock.so      authsucc
"""
FEDORA = """\
auth        required                                     pam_env.so
auth        required                                     pam_faildelay.so delay=2000000
auth        [default=1 ignore=ignore success=ok]         pam_usertype.so isregular
auth        [default=1 ignore=ignore success=ok]         pam_localuser.so
auth        sufficient                                   pam_unix.so nullok
auth        [default=1 ignore=ignore success=ok]         pam_usertype.so isregular
auth        sufficient                                   pam_sss.so forward_pass
auth        required                                     pam_deny.so
"""
FILES = {"common-auth": COMMON, "system-auth": ARCH, "password-auth": FEDORA, "empty": ""}


def read(name: str, _depth: int = 0):
    return parse(FILES[name], name)


def place(text: str, *may_skip: str, name: str = "service") -> int:
    return find_insertion_point(parse(decode(text.encode(), name), name), name, read, frozenset(may_skip)).at


# Parsing


def test_each_kind_of_line_is_parsed():
    entries = parse(
        "#%PAM-1.0\n\n  # a comment\nauth required pam_env.so # and another\n"
        "-session optional pam_x.so a=b [c d \\] e]\n"
        "AUTH [success=1 default = ignore]  pam_unix.so\n@include common-auth\naccount include system-auth\n"
        "password substack /etc/pam.d/x\nauth \\\n  sufficient \\\n\tpam_u2f.so cue",
        "x",
    )
    assert [(entry.first, entry.last, entry.type) for entry in entries] == [
        (3, 3, "auth"),
        (4, 4, "session"),
        (5, 5, "auth"),
        (6, 6, ""),
        (7, 7, "account"),
        (8, 8, "password"),
        (9, 11, "auth"),
    ]
    assert entries[1].arguments == ("a=b", "[c d \\] e]")
    assert entries[2].actions == {"success": "1", "default": "ignore"}
    assert [entry.includes for entry in entries[3:6]] == ["common-auth", "system-auth", "/etc/pam.d/x"]
    assert (entries[6].bare, entries[6].arguments) == ("pam_u2f", ("cue",))


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("auth required pam_env.so\nauht required pam_unix.so\n", 2, "auht"),
        ("auth pam_unix.so\n", 1, "too short"),
        ("auth requird pam_unix.so\n", 1, "requird"),
        ("auth [succes=1] pam_unix.so\n", 1, "succes=1"),
        ("auth [success=0] pam_unix.so\n", 1, "success=0"),
        ("auth [] pam_unix.so\n", 1, "empty control"),
        ("auth [success=1 pam_unix.so\n", 1, "without a ]"),
        ("auth required pam_x.so [a]b\n", 1, "right after a ]"),
        ("auth required [pam_x.so]\n", 1, "where a module"),
        ("auth include a b\n", 1, "more than one"),
        ("@include a b\n", 1, "exactly one"),
        ("\nauth required pam_unix.so \\\n", 2, "nothing follows"),
        ("auth required \\\n# no\npam_unix.so\n", 2, "in the middle"),
        ("auth required \\\n\npam_unix.so\n", 2, "in the middle"),
        ("auth required \\ \npam_unix.so\n", 1, "blanks after"),
        ("# so \\\nauth required pam_unix.so\n", 1, "versions"),
        ("auth required pam_unix.so # so \\\n", 1, "versions"),
        ("auth required pam_unix.so " + 300 * "abc " + "\n", 1, "longer than"),
        ("auth required pam_unix.so\r\n", 1, "carriage return"),
        ("# \x00\n", 1, "control character"),
        ("\ufeffauth required pam_unix.so\n", 1, "not with auth"),
        ("auth required\u00a0pam_unix.so\n", 1, "too short"),
    ],
)
def test_a_line_that_cannot_be_parsed_is_refused_with_its_number(text, line, message):
    with pytest.raises(StorageError, match="nothing was changed") as refused:
        parse(decode(text.encode(), "sudo"), "sudo")
    assert str(refused.value).startswith(f"sudo, line {line}: ")
    assert message in str(refused.value)


def test_bytes_that_are_not_utf_8_are_refused_with_their_line():
    with pytest.raises(StorageError, match="x, line 2: is not UTF-8"):
        decode(b"# fine\n# \xff\n", "x")


# Where the voice goes


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("auth required pam_env.so\n# a note\n@include common-auth\nauth optional pam_gnome_keyring.so\n", 2),
        ("auth sufficient pam_rootok.so\nauth required pam_nologin.so\nauth include system-auth\n", 2),
        ("account required pam_unix.so\nauth required pam_unix.so\n", 1),
        ("auth substack password-auth\nauth include nobody\n", None),
        (ARCH, 1),
        (COMMON, 0),
        ("auth [success=1 default=ignore] pam_x.so\nauth optional pam_y.so\nauth required pam_unix.so\n", 2),
    ],
)
def test_the_voice_goes_right_above_the_password(text, at):
    if at is None:
        with pytest.raises((StorageError, KeyError)):
            place(text)
    else:
        assert place(text) == at


def test_a_jump_that_would_land_elsewhere_is_refused():
    """In FEDORA, pam_localuser jumps over pam_unix: with another line in between, it would land on it."""
    with pytest.raises(StorageError, match="line 4: jumps over 1 lines"):
        place(FEDORA)
    with pytest.raises(StorageError, match="line 1: jumps over 2 lines"):
        place("auth [success=2 default=ignore] pam_x.so\nauth optional pam_y.so\nauth required pam_unix.so\n")
    with pytest.raises(StorageError, match="line 1: jumps over 1 lines"):
        place("auth [success=1 default=ignore] pam_x.so\n@include empty\nauth required pam_unix.so\n", name="j")


def test_a_file_that_asks_for_no_password_is_refused():
    with pytest.raises(StorageError, match="no password"):
        place("auth sufficient pam_rootok.so\nsession required pam_unix.so\n")


@pytest.mark.parametrize("check", ["pam_google_authenticator", "pam_access", "pam_exec"])
def test_a_check_below_the_voice_is_refused_unless_it_may_be_skipped(check):
    text = f"@include common-auth\nauth required {check}.so\n"
    with pytest.raises(StorageError, match=f"line 2: runs the check {check}.*--may-skip {check}"):
        place(text)
    assert place(text, check) == 0


def test_a_check_in_an_included_file_counts_too():
    FILES["with-token"] = COMMON + "auth required pam_oath.so\n"
    with pytest.raises(StorageError, match="with-token, line 5: runs the check pam_oath"):
        place("auth include with-token\n")


def test_a_service_that_denies_everybody_is_refused():
    """A pam_deny that a right password does not skip."""
    with pytest.raises(StorageError, match="runs the check pam_deny"):
        place("auth required pam_unix.so\nauth required pam_deny.so\n")


def test_files_that_include_each_other_are_refused():
    FILES["ring"] = "auth include ring\n"
    with pytest.raises(StorageError, match="deep"):
        place("auth include ring\n")


@pytest.mark.parametrize(
    "line", [f"auth sufficient pam_exec.so {HELPER}\n", f"auth optional pam_exec.so quiet {HELPER} -x\n"]
)
def test_a_stack_with_a_voice_added_by_hand_is_refused(line):
    with pytest.raises(StorageError, match="already"):
        place(f"{line}@include common-auth\n")


# The block

blocks = st.builds(
    Block,
    helper=st.sampled_from([HELPER, "/opt/v+1.0/bin/voiceauth-pam"]),
    module=st.sampled_from(["", "pam_u2f.so", "pam_u2f.so cue authfile=/etc/u2f", "/lib/security/pam_fprintd.so"]),
    allow_root=st.booleans(),
    timeout=st.sampled_from(["", "4", "2.5", "60"]),
    policy=st.sampled_from(["", "unlock", "auth"]),
)

ABOVE = st.sampled_from(
    [
        "\n",
        "  \t\n",
        "#%PAM-1.0\n",
        "# grüße # und [ mehr\n",
        "auth required pam_env.so   # why\n",
        "auth\toptional\\\n pam_faildelay.so \\\n\tdelay=3000000\n",
        "-auth   [success=ok default=ignore]   pam_x.so [a b]\n",
        "session required pam_limits.so\n",
        "account [default=2] pam_unix.so\n",
        "password requisite pam_pwquality.so\n",
    ]
)
PASSWORD = st.sampled_from(
    [
        "@include common-auth\n",
        "auth include system-auth\n",
        "auth  \\\n required pam_unix.so\n",
        "auth required pam_unix.so",
    ]
)
BELOW = st.sampled_from(
    [
        "\n",
        "# the end",
        "auth optional pam_gnome_keyring.so\n",
        "@include common-auth\n",
        "session\trequired pam_unix.so",
    ]
)


@st.composite
def texts(draw):
    """Realistic files: anything above the password, and anything below it."""
    password = draw(PASSWORD)
    below = [line if line.endswith("\n") else f"{line}\n" for line in draw(st.lists(BELOW, max_size=3))]
    if below and not password.endswith("\n"):
        password += "\n"
    if below and draw(st.booleans()):
        below[-1] = below[-1].rstrip("\n")
    return "".join([*draw(st.lists(ABOVE, max_size=6)), password, *below])


@settings(deadline=None)
@given(texts(), blocks)
def test_removing_the_block_restores_the_file_byte_for_byte(text, block):
    at = place(text)
    installed = with_block(text, at, block, "service")
    found = find(installed, "service")
    assert found is not None
    assert (found.first, found.block) == (at, block)
    assert without_block(installed, found) == text
    assert place(without_block(installed, found)) == at
    assert set(lines_of(text)) <= set(lines_of(installed))
    # PAM reads the lines of the old file, and those of the block.
    added = [entry for entry in parse(installed, "x") if found.first < entry.first < found.last]
    rest = [entry for entry in parse(installed, "x") if entry not in added]
    assert [entry[2:] for entry in rest] == [entry[2:] for entry in parse(text, "x")]
    assert len(added) == (2 if block.module else 1)


@settings(deadline=None)
@given(st.text())
def test_joined_lines_give_the_text_again(text):
    assert "".join(lines_of(text)) == text


@settings(deadline=None)
@given(st.text(alphabet="auth @include\\[]=#\n\t1pm_xso.reqd-"))
def test_any_text_is_parsed_or_refused(text):
    try:
        entries = parse(text, "x")
    except StorageError:
        return
    assert all(0 <= entry.first <= entry.last < len(lines_of(text)) for entry in entries)


def test_the_lines_for_pam():
    assert Block(HELPER, timeout="4", policy="auth").lines() == [
        f"auth sufficient pam_exec.so quiet stdout seteuid {HELPER} --timeout 4 --policy auth"
    ]
    assert Block(HELPER, "pam_u2f.so cue", allow_root=True).lines() == [
        f"auth [success=ignore default=1] pam_exec.so quiet stdout seteuid {HELPER} --allow-root",
        "auth sufficient pam_u2f.so cue",
    ]


def test_no_line_could_lock_anybody_out():
    for block in (Block(HELPER), Block(HELPER, "pam_u2f.so"), Block(HELPER, allow_root=True)):
        entries = parse(block.text("sudo"), "x")
        assert not any(entry.may_deny for entry in entries)


@pytest.mark.parametrize(
    "block",
    [
        Block("voiceauth-pam"),
        Block("/usr/bin/voiceauth pam"),
        Block("/usr/bin/voiceauth-pam\nauth sufficient pam_permit.so"),
        Block("/usr/bin/../../tmp/x"),
        Block(HELPER, "u2f.so"),
        Block(HELPER, "pam_u2f.so a\\"),
        Block(HELPER, "pam_u2f.so\nauth sufficient pam_permit.so"),
        Block(HELPER, "pam_u2f.so " + 500 * "x"),
        Block(HELPER, timeout="61"),
        Block(HELPER, timeout="nan"),
        Block(HELPER, timeout="4 --allow-root"),
        Block(HELPER, policy="monitor"),
        Block(HELPER, policy="auth --allow-root"),
    ],
)
def test_values_that_cannot_be_written_into_a_pam_line_are_refused(block):
    with pytest.raises(UsageError):
        block.text("sudo")


@pytest.mark.parametrize(
    "change",
    [
        ("auth sufficient pam_exec.so", "auth required pam_exec.so"),
        (f"{END}\n", ""),
        (f"{BEGIN}", "# was:"),
        (f"{END}\n", f"auth sufficient pam_permit.so\n{END}\n"),
        (" quiet", ""),
        (" --timeout 4", " --timeout 4 --daemon-user eve"),
        (f"{END}\n", f"{END}\n{END}\n"),
    ],
)
def test_a_block_edited_by_hand_is_not_changed(change):
    text = with_block("@include common-auth\n", 0, Block(HELPER, timeout="4"), "sudo").replace(*change)
    with pytest.raises(StorageError, match=r"sudo, line 1: begins.*nothing was changed|sudo, line \d: begins or ends"):
        find(text, "sudo")


# The guide


def test_each_block_in_the_guide_is_as_install_writes_it():
    guide = (Path(__file__).parents[2] / "docs" / "login.md").read_text(encoding="utf-8")
    shown = [text.removeprefix("\n") for text in guide.split("```")[1::2] if text.startswith(f"\n{BEGIN}")]
    services = []
    for text in shown:
        found = find(text, "login.md")
        assert found is not None
        services += re.findall(r"voiceauth pam remove (\S+)`", text)
        assert found.block.text(services[-1]) == text
    assert services == ["sudo", "sudo", "login", "swaylock", "hyprlock"]


def test_the_sed_command_in_the_guide_restores_the_file(tmp_path):
    guide = (Path(__file__).parents[2] / "docs" / "login.md").read_text(encoding="utf-8")
    file = tmp_path / "sudo"
    before = "#%PAM-1.0\n# a note\n@include common-auth\naccount required pam_unix.so"
    file.write_text(with_block(before, 2, Block(HELPER, "pam_u2f.so"), "sudo"))
    (command,) = re.findall(r"^sed -i '(.*)' /etc/pam.d/SERVICE$", guide, re.MULTILINE)
    subprocess.run(["sed", "-i", command, str(file)], check=True)
    assert file.read_text() == before
