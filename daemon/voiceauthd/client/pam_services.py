"""The PAM services that need special treatment, by their PAM names.

`voiceauth-pam` checks these tables each time PAM runs it, and `voiceauth pam install` when it changes a service.
"""

from __future__ import annotations

ROOT_SERVICES = frozenset(
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
"""Services that let the user act as root or as any other user. A voice alone is not enough for them unless an
administrator allows it (--allow-root)."""

REMOTE_SERVICES = frozenset(
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
"""Services for users at other machines, where this machine's microphone would hear somebody else. A voice never
authenticates for them."""

EXCLUDED_SERVICES = frozenset({"other", "voiceauthd"})
"""Services that never use a voice. `other` covers every service that has no file. `voiceauthd` proves that the person
who changes a voice is its owner, and a voice cannot prove that."""
