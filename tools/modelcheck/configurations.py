"""What is searched: good configurations, where every property must hold, and broken variants, where one must not.

Each is a set of macros for ``protocols/model/saf.pml``. A variant leaves out one rule of the protocol; it is searched
breadth first, so that its counterexample is a short one, or for a cycle when what it breaks is progress.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Search:
    """One run of spin. ``expect`` is the property that has to fail, empty for a good configuration.

    ``progress``: look for runs without end instead of violated assertions alone. ``slow``: in the full set only.
    """

    name: str
    about: str
    defines: tuple[str, ...]
    expect: str = ""
    progress: bool = False
    slow: bool = False

    @property
    def breadth_first(self) -> bool:
        """Shortest counterexample first; spin has no such search for cycles."""
        return bool(self.expect) and not self.progress


def _defines(text: str) -> tuple[str, ...]:
    return tuple(f"-D{word}" for word in text.split())


def _good(name: str, about: str, defines: str, slow: bool = False) -> Search:
    return Search(name, about, _defines(defines), progress="CALM" in defines.split(), slow=slow)


def _broken(rule: str, expect: str, about: str, defines: str) -> Search:
    return Search("no-" + rule.lower().replace("_", "-"), about, _defines(f"{defines} BROKEN_{rule}"), expect,
                  progress="CALM" in defines.split())


GOOD = (
    _good("sessions", "2 rival hosts, 1 card, 3 SESSION_OPENs", "SESSIONS OPENS=3"),
    _good("sessions-progress", "the same without takeover and reboot, faults stop",
          "SESSIONS OPENS=3 CALM TAKEOVERS=0 REBOOTS=0"),
    _good("commands", "1 host that restarts, 2 commands, a role change", "COMMANDS HOSTS=1 OPENS=3"),
    _good("commands-progress", "the same, faults stop", "COMMANDS HOSTS=1 OPENS=3 CALM ROLES=0"),
    _good("bulk", "2 programs of 2 images on 1 card, restart, forged block, lost card",
          "BULK REBOOTS=0"),
    _good("bulk-progress", "the same, faults stop", "BULK REBOOTS=0 CALM SESSIONS_OPENED=4"),
    _good("bulk-pair-progress", "1 image on 2 cards, one is lost meanwhile, faults stop",
          "BULK CARDS=2 IMAGES=1 RESTARTS=0 REBOOTS=0 POISONED=0 GIVE_UPS=0 CALM"),
    _good("sessions-more", "2 rival hosts, 1 card, 4 SESSION_OPENs", "SESSIONS OPENS=4", slow=True),
    _good("sessions-pair", "2 rival hosts, 2 cards, 3 SESSION_OPENs", "SESSIONS CARDS=2 OPENS=3", slow=True),
    _good("commands-rival", "2 commands, a rival that takes over", "COMMANDS HOSTS=2 OPENS=3", slow=True),
    _good("commands-kill", "2 commands and a KILL", "COMMANDS HOSTS=1 OPENS=3 KILLS=1", slow=True),
    _good("commands-three", "3 commands, a role change", "COMMANDS HOSTS=1 OPENS=3 COMMANDS_GIVEN=3",
          slow=True),
    _good("bulk-pair", "2 images on 2 cards, restart, reboot, forged block",
          "BULK CARDS=2 REQUESTS=2 LAPSES=0 GIVE_UPS=0 SESSIONS_OPENED=2", slow=True),
    _good("bulk-reboot", "as bulk, with a reboot, without forged blocks and deadlines", "BULK POISONED=0 GIVE_UPS=0",
          slow=True),
    _good("bulk-rival", "as bulk, with a rival that takes over, without forged blocks and deadlines",
          "BULK REBOOTS=0 SCRUBS=1 POISONED=0 GIVE_UPS=0", slow=True),
)

_ONE = "COMMANDS HOSTS=1"
_BULK = "BULK REBOOTS=0"

BROKEN = (
    _broken("BOOT_NONCE", "session_boot", "boot nonce neither in the key nor checked", "SESSIONS OPENS=3 KEEP_ALL"),
    _broken("CHALLENGE", "stale_frame", "challenge not checked, an old SESSION_OPEN opens again",
            "SESSIONS OPENS=3 KEEP_ALL"),
    _broken("CHALLENGE_RANDOM", "opens_once", "a HELLO can name the challenge to come, and hosts sign for it",
            "SESSIONS OPENS=3 KEEP_ALL"),
    _broken("REFUSAL_RENEWS", "opens_once", "a refused SESSION_OPEN leaves the challenge, and opens later",
            "SESSIONS OPENS=3 KEEP_ALL"),
    _broken("HOST_NONCE", "session_boot", "OPENED not bound to the SESSION_OPEN it answers",
            "SESSIONS OPENS=3 KEEP_ALL"),
    _broken("GENERATION_KEPT", "generation_used_once", "a generation is sent before it is on the disk",
            "SESSIONS OPENS=3"),
    _broken("SLOTS_RESET", "at_most_once", "command slots cleared when the owner opens again",
            f"{_ONE} OPENS=2 RESTARTS=0 REBOOTS=0 ROLES=0"),
    _broken("COMMAND_IDS", "reply_of_attempt", "a host that starts anew begins with command id 1",
            f"{_ONE} OPENS=2 REBOOTS=0 ROLES=0"),
    _broken("EPOCH", "command_epoch", "role epoch of RUN not checked", f"{_ONE} OPENS=2"),
    _broken("REPLY_UNBOUND", "reply_of_attempt", "DONE of another session counts",
            f"{_ONE} OPENS=3 RESTARTS=0 ROLES=0 KEEP_ALL"),
    _broken("SLOT_ID", "at_most_once", "a repeated RUN runs again", f"{_ONE} OPENS=2"),
    _broken("KILL_REPEATS", "kill_boundary", "a repeated KILL kills again",
            f"{_ONE} OPENS=2 RESTARTS=0 REBOOTS=0 ROLES=0 KILLS=1"),
    _broken("BITMAP_CLEARED", "blocks_kept", "a repeated XFER_OPEN clears the bitmap", _BULK),
    _broken("INVALIDATE_REPEATS", "blocks_kept", "a repeated INVALIDATE clears its range again",
            f"{_BULK} RESTARTS=0 LAPSES=0"),
    _broken("FENCE", "verified_is_right", "blocks are written over while they are verified", _BULK),
    _broken("MISSING_BLOCKS", "verified_is_right", "CLOSE verifies what is there", f"{_BULK} RESTARTS=0 LAPSES=0"),
    _broken("TRANSFER_IDS", "done_is_durable", "a host that starts anew uses transfer ids again",
            f"{_BULK} POISONED=0 GIVE_UPS=0 LAPSES=0"),
    _broken("COMMIT_REPEATS", "reply_of_attempt", "a repeated COMMIT is judged anew", f"{_BULK} POISONED=0 GIVE_UPS=0"),
    _broken("COMMIT_UNVERIFIED", "commit_of_verified", "an image is committed by its name, verified or not",
            f"{_BULK} RESTARTS=0 LAPSES=0"),
    _broken("COMMIT_EPOCH", "commit_epoch", "role epoch of COMMIT not checked", f"{_BULK} POISONED=0 GIVE_UPS=0"),
    _broken("ABORT_AT_ONCE", "progress", "ABORT of an XFER_OPEN that may still be on its way",
            f"{_BULK} RESTARTS=0 LAPSES=0 CALM"),
    _broken("VERIFYING_LEFT", "progress", "a restarted host leaves a transfer that is being verified",
            f"{_BULK} GIVE_UPS=0 CALM"),
    _broken("FAILED_LEFT", "progress", "a card that comes back keeps a transfer that went on without it",
            "BULK CARDS=2 IMAGES=1 RESTARTS=0 REBOOTS=0 POISONED=0 GIVE_UPS=0 CALM"),
)

ALL = GOOD + BROKEN
