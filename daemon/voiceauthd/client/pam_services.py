"""PAM services that a voice must treat with care, by the name that PAM knows them by.

Two programs go by these tables: `voiceauth-pam`, each time PAM asks it, and `voiceauth pam install`.
"""

from __future__ import annotations

GIVES_ROOT = frozenset(
    {
        "config-util",
        "doas",
        "kdesu",
        "ksu",
        "pkexec",
        "polkit-1",
        "run0",
        "runuser",
        "runuser-l",
        "su",
        "su-l",
        "sudo",
        "sudo-i",
        "sudo-rs",
        "sudoedit",
        "systemd-run0",
        "userhelper",
    }
)
"""Whoever gets past these acts as root, or as anybody. A voice alone does not open them, unless somebody who may decide
that has said so."""

REMOTE = frozenset(
    {
        "cockpit",
        "cups",
        "dovecot",
        "dropbear",
        "ftp",
        "imap",
        "nx",
        "nxserver",
        "openvpn",
        "pop",
        "pop3",
        "ppp",
        "proftpd",
        "pure-ftpd",
        "remote",
        "rexec",
        "rlogin",
        "rsh",
        "samba",
        "smtp",
        "squid",
        "sshd",
        "vsftpd",
        "webmin",
        "xrdp-sesman",
        "x2goserver",
    }
)
"""Who uses these sits elsewhere, and it would be this machine's microphone that listens. A voice never opens them."""

NEVER = frozenset({"other", "voiceauthd"})
"""`other` stands for every service that has no file. `voiceauthd` proves that who wants to change a voice
is its owner: a voice is no proof of that."""
