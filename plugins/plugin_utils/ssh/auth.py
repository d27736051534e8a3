# SPDX-FileCopyrightText: bastion.ssh contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection.
"""Log in to one hop (RFC 4252): what is offered, in which order, and what is reported when nothing helps.

The rules:

- The first request is ``none``, whose answer is the list of methods. Then, as long as the login is not complete, the next method
  of the list is taken in ssh(1)'s order, keys, keyboard-interactive, password, or in that of PreferredAuthentications; last come
  the fallback keys. An answer of the server that names methods replaces the list.
- A key is offered once with its certificate, and once without. If a password or an answer may follow, no more than four are offered.
- A password goes over the wire once by each method that wants it, as with ssh(1) and NumberOfPasswordPrompts 1. To OpenSSH's
  server it goes once, unless that has accepted it and wants more: PAM is asked either way, and one more failure brings nothing but
  the account's lock (pam_faillock).
- Questions are answered once, and once more after a partial success. If one question has no answer, none is sent.
- If the host key is in doubt (``secrets_allowed``), no password and no answer is sent.
- A refusal is LoginRefused, which is not retried. So is an end or a timeout after a secret was sent, as the server may have counted
  a failure. Without a secret these are HopUnreachable, which may be retried.
- ``run`` has a thread of its own (``Deadline.limit``), ``_answers`` is called in the transport's thread while ``run`` waits for it, so
  that there is no lock. When the time is up, the caller reads what was said (``overdue``) and closes the connection.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from dataclasses import replace

from ..chain.codes import asks_for_code, names_code
from ..chain.model import METHODS, Hop
from ..deadline import Deadline
from ..errors import HopError, HopUnreachable, LoginRefused, sanitize
from ..patched_paramiko.compat import paramiko
from ..patched_paramiko.transport import HopTransport
from ..patched_paramiko.userauth import PasswordExpired, Withheld
from ..patched_paramiko.violation import Violation, as_broken
from .keys import LoginKey, login_keys
from .prompts import first_matches

# sshd disconnects at MaxAuthTries, by default 6, so keys must leave attempts for the password.
_KEYS_BEFORE_PASSWORD = 4
_REPORT_SLACK = 1.0
_SHOWN = 20
_SERVER_LOG = "Its log may say why."
# Signature algorithms of key types whose algorithms have other names (RFC 8332).
_SIGNS_WITH = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}
_MATCHING_SECONDS = 10.0  # limit for matching the patterns of prompts
_WORDS = 3  # titles and instructions of questions to keep, the last ones
_PASSWORD_PROMPT = re.compile(r"password", re.IGNORECASE)
# pam_unix's prompts for an expired password.
_CHANGE_PROMPT = re.compile(r"(?:new|change your|\bcurrent\)?)(?: unix)? password", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")


class _NotAnswered(paramiko.SSHException):
    """Signal that questions could not be matched, through no fault of the server; the connection ends without an answer."""


class Login:
    """Log in to one hop.

    :param transport: key exchange done, host key verified.
    :param place: the hop as errors name it.
    :param secrets_allowed: False if the host key is in doubt; then only keys are offered.
    """

    def __init__(
        self, transport: HopTransport, hop: Hop, place: str, deadline: Deadline, secrets_allowed: bool
    ) -> None:
        self._transport = transport
        self._hop = hop
        self._place = place
        self._deadline = deadline
        self._secrets_allowed = secrets_allowed
        self._order = METHODS if hop.credentials.methods is None else hop.credentials.methods
        self._methods: tuple[str, ...] = ()
        self._tried: list[str] = []
        self._skipped: list[str] = []
        self._keys = login_keys(hop.credentials, self._skipped.append)
        fallback = replace(hop.credentials, identities=hop.credentials.fallback)
        self._fallback_keys = login_keys(fallback, self._skipped.append)
        self._offered: set[bytes] = set()
        self._password_sent: set[str] = set()  # methods that have sent it
        self._password_accepted: set[str] = set()  # methods that had a partial success with it
        self._questions_spent = False
        self._secret_sent = False
        self._key_accepted = False
        self._expired = False
        self._code_sent = False
        self._unanswered = ""
        self._instructions: list[str] = []
        self._not_answered: HopError | None = None
        #: Whether a fallback key was needed; valid once the login is complete.
        self.used_fallback = False
        #: Blobs of the agent's keys that were accepted, as the agent lists them.
        self.agent_keys: set[bytes] = set()

    def run(self) -> None:
        """Log in.

        :raises LoginRefused: every credential was refused, or the hop accepts none of them.
        :raises HopUnreachable: the connection ended, or the deadline passed, before an answer.
        """
        user = self._hop.credentials.user
        self._transport.sign_only_with(self._hop.credentials.algorithms)
        # "none" does not count as an attempt, and its answer lists the methods (RFC 4252 section 5.2).
        try:
            if self._attempt("", lambda: self._transport.auth_none(user)):
                return
            while True:
                step = self._next()
                if step is None:
                    raise self._refused()
                if step():
                    return
        finally:
            self._keys.close()  # closes the connection to the agent, too
            self._fallback_keys.close()
            self._transport.forget_questions()

    def _next(self) -> Callable[[], bool] | None:
        """Return the next attempt of a method that the server accepts now; None if there is none."""
        steps = {
            "publickey": self._key_step,
            "keyboard-interactive": self._question_step,
            "password": self._password_step,
        }
        for method in self._order:
            step = steps[method]() if method in self._methods else None
            if step is not None:
                return step
        last = self._next_key(self._fallback_keys) if "publickey" in self._order else None
        if last is None:
            return None
        self.used_fallback = True
        return lambda: self._offer_key(last)

    def _key_step(self) -> Callable[[], bool] | None:
        key = self._next_key(self._keys)
        return None if key is None else lambda: self._offer_key(key)

    def _question_step(self) -> Callable[[], bool] | None:
        """Return the keyboard-interactive attempt, None if it is of no use.

        After an accepted key, or if the server takes neither keys nor passwords, attempt it even without configured answers: the
        server may ask nothing, as with a push to a phone.
        """
        if not self._secrets_allowed or self._questions_spent:
            return None
        has_answer = self._hop.credentials.prompts or self._has_password("keyboard-interactive")
        only_way = self._key_accepted or not {"publickey", "password"} & set(self._methods)
        return self._answer_questions if has_answer or only_way else None

    def _password_step(self) -> Callable[[], bool] | None:
        return self._offer_password if self._secrets_allowed and self._has_password("password") else None

    def _has_password(self, method: str) -> bool:
        """Return whether there is a password that a method may still send."""
        if self._hop.credentials.password is None or method in self._password_sent:
            return False
        failed = self._password_sent - self._password_accepted
        return not failed or "OpenSSH" not in str(self._transport.remote_version)

    def _next_key(self, keys: Generator[LoginKey, None, None]) -> LoginKey | None:
        if "publickey" not in self._methods:
            return None
        secret_ways = {"password", "keyboard-interactive"} & set(self._methods) & set(self._order)
        has_secret = (
            self._secrets_allowed
            and secret_ways
            and (self._hop.credentials.prompts or any(map(self._has_password, secret_ways)))
        )
        for offered in keys:
            blob = offered.key.public_blob.key_blob if offered.key.public_blob else offered.key.asbytes()
            if blob in self._offered:
                continue
            if not self._signable(offered):
                continue
            if has_secret and len(self._offered) >= _KEYS_BEFORE_PASSWORD:
                self._skipped.append(f"keys after the first {_KEYS_BEFORE_PASSWORD}, to leave tries for the password")
                keys.close()
                return None
            self._offered.add(blob)
            return offered
        return None

    def _signable(self, offered: LoginKey) -> bool:
        """Return whether a key can sign with an algorithm that is configured, accepted by the server (RFC 8308), and not SHA-1."""
        key_type = offered.key.public_blob.key_type if offered.key.public_blob else offered.key.get_name()
        wanted = self._hop.credentials.algorithms
        plain, certified, _version = key_type.partition("-cert-v01@openssh.com")
        if wanted is not None and not {f"{name}{certified}" for name in _SIGNS_WITH.get(plain, (plain,))} & set(wanted):
            self._skipped.append(f"{offered.name}: PubkeyAcceptedAlgorithms leaves its kind out")
            return False
        accepted = self._transport.server_extensions.get("server-sig-algs", b"")
        names = (accepted.decode("utf-8", "replace") if isinstance(accepted, bytes) else accepted).split(",")
        if not accepted or "rsa" not in offered.key.get_name() or {"rsa-sha2-512", "rsa-sha2-256"} & set(names):
            return True
        self._skipped.append(f"{offered.name}: the server takes no RSA signature but SHA-1's, which is refused here")
        return False

    def _offer_key(self, offered: LoginKey) -> bool:
        return self._attempt(f"publickey {offered.name}", lambda: self._sign(offered), offered.name)

    def _sign(self, offered: LoginKey) -> list[str]:
        further: list[str] = self._transport.auth_publickey(self._hop.credentials.user, offered.key)
        if offered.of_agent is not None:  # accepted, perhaps as a partial success
            self.agent_keys.add(offered.of_agent)
        return further

    def _offer_password(self) -> bool:
        self._password_sent.add("password")
        self._secret_sent = True
        user, password = self._hop.credentials.user, self._hop.credentials.password or ""
        return self._attempt("password", lambda: self._transport.auth_password(user, password, fallback=False))

    def _answer_questions(self) -> bool:
        self._questions_spent = True
        user = self._hop.credentials.user
        return self._attempt("keyboard-interactive", lambda: self._transport.auth_interactive(user, self._answers))

    def _answers(self, title: str, instructions: str, questions: list[tuple[str, bool]]) -> list[str]:
        """Return the answers to a round of questions. Called in the transport's thread.

        A round without questions has no answers (RFC 4256 section 3.3), as with a push to a phone.

        :raises Withheld: an answer is not known. OpenSSH disconnects if one is missing, and counts a failure if one is wrong.
        :raises _NotAnswered: the questions could not be matched.
        """
        self._instructions += [words for words in (sanitize(title), sanitize(instructions)) if words]
        del self._instructions[:-_WORDS]
        texts = [question for question, _echo in questions]
        before = set(self._password_sent)
        entries = self._matches(texts)
        answers = [self._answer(*each) for each in zip(texts, entries, strict=True)]
        known = [answer for answer in answers if answer is not None]
        if len(known) < len(answers):
            self._password_sent = before
            raise Withheld("a question has no answer")
        self._secret_sent = self._secret_sent or bool(known)
        self._code_sent = self._code_sent or any(map(self._is_code, texts, entries))
        return known

    def _is_code(self, question: str, entry: int | None) -> bool:
        """Return whether a question that matches an entry of prompts is for a one-time code, by its text or the entry's pattern."""
        return entry is not None and (asks_for_code(question) or names_code(self._hop.credentials.prompts[entry][0]))

    def _matches(self, questions: list[str]) -> list[int | None]:
        """Return, for each question, the index of the first entry of prompts that matches it; None if none does."""
        patterns = [pattern for pattern, _answer in self._hop.credentials.prompts]
        # Leave the other half of the time for the server's reply.
        deadline = Deadline(min(self._deadline.remaining() / 2, _MATCHING_SECONDS))
        try:
            return first_matches(patterns, questions, deadline)
        except TimeoutError as error:
            problem = f"took more than {deadline.seconds:.1f} seconds of the patterns of prompts"
            advice = "Write a simpler expression, without one repetition in another."
            cause: Exception = error
        except (OSError, RuntimeError) as error:
            problem = f"is not answered, as the patterns of prompts need a process, and none can be started: {sanitize(str(error))}"
            advice, cause = "Is there a limit of processes or memory on the controller (ulimit -u)?", error
        shown = sanitize(questions[0], 80) if questions else ""
        self._not_answered = self._without_answer(f"the question {shown!r} {problem}", advice)
        raise _NotAnswered("nothing was answered") from cause

    def _answer(self, question: str, entry: int | None) -> str | None:
        """Return the answer to one question; None if there is none. An empty one-time code counts as none.

        :param entry: the index of the entry of prompts that matches.
        """
        credentials = self._hop.credentials
        if entry is not None:
            answer = credentials.prompts[entry][1]
            if answer or not self._is_code(question, entry):
                return answer
        elif self._has_password("keyboard-interactive") and _asks_for_password(question):
            self._password_sent.add("keyboard-interactive")
            return credentials.password
        self._unanswered = self._unanswered or sanitize(question, 200) or "?"
        self._skip(f"the question {sanitize(question, 80)!r}, which no entry of prompts answers")
        return None

    def _skip(self, words: str) -> None:
        """Record an unanswered question for the error, up to a limit, as a server may ask many."""
        if words not in self._skipped and len(self._skipped) < _SHOWN:
            self._skipped.append(words)

    def _attempt(self, name: str, call: Callable[[], list[str]], key: str = "") -> bool:
        """Try one method. Return True if the login is complete.

        :param name: the method and its key, for messages; empty for "none".
        :param call: sends the request and returns the methods still required.
        :param key: the name of the key that signs; its agent or token may refuse to sign.
        """
        self._transport.auth_timeout = self._deadline.remaining()
        try:
            further = call()
        except Withheld:
            return False
        except PasswordExpired as error:
            self._tried.append(f"{name}, expired")
            self._expired = True
            self._instructions.append(str(error))
            return False
        except paramiko.BadAuthenticationType as error:
            # Also raised if the server drops this method from its list now that it has failed.
            self._tried += [name] if name else []
            self._methods = tuple(error.allowed_types)
            return False
        except Exception as error:
            if self._not_answered is not None:
                raise self._not_answered from error
            if self._deadline.expired:
                raise self.overdue() from error
            ended = isinstance(error, EOFError)
            if ended:  # the transport's thread may still have to read why
                self._transport.join(_REPORT_SLACK)
            if ended or not self._transport.is_active():
                raise self._ended(name) from error
            if isinstance(error, paramiko.AuthenticationException):
                self._tried += [name] if name else []
            elif key:
                self._skipped.append(f"{key}: {sanitize(str(error)) or type(error).__name__}")
            else:
                raise self._without_answer(
                    f"the login failed: {sanitize(str(as_broken(error)))}", _SERVER_LOG
                ) from error
            return False
        if name:
            self._tried.append(name + (", accepted" if further else ""))
        self._password_accepted |= self._password_sent & {name}
        self._methods = tuple(further)
        self._questions_spent = False  # after a partial success the server may ask something else
        self._key_accepted = self._key_accepted or bool(key)
        return not further

    def overdue(self) -> HopError:
        """Return the error for a login that timed out."""
        words = f"; it says: {'; '.join(self._instructions)}" if self._instructions else ""
        return self._without_answer(
            f"no answer to the login within {self._deadline.seconds:g} seconds{words}",
            "Does the agent, a token or a second factor wait for an answer?",
        )

    def _without_answer(self, problem: str, advice: str) -> HopError:
        """Return the error for a login without an answer.

        After a secret was sent it is LoginRefused: the server may have counted a failure, so the secret must not be sent again.
        """
        if self._secret_sent:
            return LoginRefused(self._place, f"{problem}, after a secret was sent", advice)
        return HopUnreachable(self._place, problem, advice)

    def _ended(self, name: str) -> HopError:
        reason = self._transport.disconnect_reason
        if "too many authentication failures" in reason.lower():
            self._tried.append(name)
            self._skipped.append("anything else: the server ended the login at its MaxAuthTries")
            return self._refused()
        fault = self._transport.saved_exception
        if isinstance(fault, Violation):
            return self._without_answer(f"the login failed: {fault}", _SERVER_LOG)
        words = [word for word in (reason, *self._words()) if word]
        problem = "the server ended the connection during the login" + (
            f" and said: {'; '.join(words)}" if words else ""
        )
        advice = "Its log says why: a wrong password, an account that may not log in, a limit, or a restart."
        return self._without_answer(problem, advice)

    def _words(self) -> list[str]:
        """Return the server's banner and instructions, sanitized."""
        return [words for words in (sanitize(self._transport.get_banner()), *self._instructions) if words]

    def _refused(self) -> LoginRefused:
        tried = ", ".join(self._tried) or "nothing that this server takes"
        if not self._secrets_allowed:
            self._skipped.append("the password, since the host key has changed")
        left_out = [method for method in self._methods if method in METHODS and method not in self._order]
        if left_out:
            self._skipped.append(f"{', '.join(left_out)}, as ssh_config leaves it out")
        skipped = f"; not offered: {'; '.join(self._skipped)}" if self._skipped else ""
        words = "; ".join(self._words())
        return LoginRefused(
            self._place,
            f"login refused. Tried: {tried}{skipped}. The server takes: {sanitize(', '.join(self._methods)) or 'none'}"
            + (f". It says: {words}" if words else ""),
            self._advice(),
        )

    def _advice(self) -> str:
        """Return the advice for a refused login."""
        hop = self._hop
        if self._expired or _CHANGE_PROMPT.search(self._unanswered):
            return f"The password of {hop.credentials.user} must be changed: log in by hand, and change it."
        if not self._unanswered and self._code_sent:
            return f"A one-time code works once, and for a short time: give a new one. Else check {hop.credential_settings}."
        if not self._unanswered:
            return f"Check {hop.credential_settings}."
        if _asks_for_password(self._unanswered) and hop.credentials.password is None:
            return f"Set {hop.password_setting}."
        words = " ".join(_WORD.findall(self._unanswered)[:2]).lower() or "."
        return f"Set {hop.prompts_setting}, such as {{'{words}': '<answer>'}}."


def _asks_for_password(question: str) -> bool:
    """Return whether a question asks for the account's password."""
    asks = _PASSWORD_PROMPT.search(question) and not _CHANGE_PROMPT.search(question)
    return bool(asks) and not asks_for_code(question)
