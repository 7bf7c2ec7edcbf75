"""Carrying out a plan so that every change is made once, whatever happens on the way.

The one rule: nothing is asked for that was not looked for just before, and nothing that was asked for without an answer
is asked for again before it has had time to come about. So each source goes round: look; see what became of earlier
requests; plan what is still to be done; write down what is asked for next; ask; write down what came of it. A source
whose request had no answer is looked at again at once, and if the change is not there, once more when it can no longer be
under way; others go on meanwhile. Should the change come even later, the look at the end finds two copies and takes away
the second, which can only be ours. May import core, errors and the rooms beside it.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from scope_ml.errors import (
    CredentialError,
    NotAllowedError,
    OutputError,
    QueryRefusedError,
    ReplyError,
    ScopeError,
    ServiceTimeoutError,
    ServiceUnavailableError,
    UnsureError,
)
from scope_ml.services.fritz import planning
from scope_ml.services.fritz.acting import RIGHTS, act, batches
from scope_ml.services.fritz.found import found_ids
from scope_ml.services.fritz.journal_state import Intent
from scope_ml.services.fritz.looking import NOT_THERE, Seen, look
from scope_ml.services.fritz.planning import SourcePlan, Step
from scope_ml.services.fritz.rights import check_rights
from scope_ml.services.fritz.rounds import go_round
from scope_ml.services.fritz.tasks import MOST_OUTAGES, Job, Name, Outages, Task

__all__ = ["Carrier"]

#: Requests without an answer after which a step is given up.
MOST_TRIES = 3

#: Looks at one source that may fail, and changes in a row that may stay without an answer before the service is down.
MOST_FAILED_LOOKS, MOST_UNANSWERED = 2, 20

#: Longest that a request of a process that is no more can have waited for its answer [s].
LONGEST_REQUEST_S = 60.0

#: What the service's own moods are, as against answers.
NO_ANSWER = (ServiceUnavailableError, ServiceTimeoutError, ReplyError)

#: Status of a step that was done and is not there in the end.
_LOST = "lost"


class Carrier:
    """Carries out plans.

    Parameters
    ----------
    task
        What the run shares.

    Attributes
    ----------
    touched
        Keys of sources that were changed, or maybe were, in this run; with the steps that will not be done.
    failures
        By key, the first thing that went wrong.
    counts
        Steps of finished sources: ``done``, ``already``, ``failed`` of the plan; ``added``, ``lost`` (done, but not there
        in the end).
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._started = (task.clock.now(), task.clock.today())
        self._unanswered: dict[int, float] = {}
        self._stop = task.stop
        self._lock = threading.Lock()
        self._looks, self._answers = Outages(MOST_OUTAGES), Outages(MOST_UNANSWERED)
        self.touched: dict[str, frozenset[Name]] = {}
        self.failures: dict[str, str] = {}
        self.counts: Counter[str] = Counter()

    def carry_out(self, jobs: Iterable[Job]) -> None:
        """Bring each source into the wanted state, as far as its plan says.

        Raises
        ------
        NotAllowedError, CredentialError
            If a right or the token was lost.
        ServiceError
            If the service is down; what is done is kept.
        OutputError
            If the journal cannot be written.
        """
        task = self._task
        go_round(jobs, self._one, connections=task.connections, clock=task.clock, stop=self._stop, done=task.advance)

    def _one(self, job: Job) -> float | None:
        """Go on with a source; return when it has to be looked at again [s of `Clock.now`], None if it is done."""
        try:
            return self._rounds(job)
        except (CredentialError, OutputError, _LostRightError, _StoppedError, UnsureError):
            # `UnsureError`: one too many in a row, see `_answers`.
            raise
        except ScopeError as error:
            if self._stop.is_set():
                # The client asks no more: that says nothing of this source.
                raise _StoppedError from error
            if isinstance(error, NO_ANSWER):
                job.n_failed_looks += 1
                self._looks.one_more(error)
                if job.n_failed_looks < MOST_FAILED_LOOKS:
                    return self._task.clock.now() + self._task.settle_s
            self._give_up(job, str(error))
        return None

    def _rounds(self, job: Job) -> float | None:
        while not self._stop.is_set():
            seen, plan = self._look(job)
            if plan.refused:
                self._give_up(job, plan.refused, status="refused")
                return None
            if seen.source is None and not plan.steps and job.planned:
                self._give_up(job, plan.left[0])
                return None
            job.failed |= {name: why for name, why in plan.unmet.items() if name in job.planned.keys() - job.done}
            later = self._settle(job, seen, plan)
            if later is not None:
                return later
            self._judge_refusal(job, seen, plan)
            steps = self._to_do(job, seen, plan)
            job.n_rounds += 1
            if not steps or job.n_rounds > len(plan.steps) + 2 * len(job.planned) + 2 * MOST_TRIES + 4:
                self._finish(job, plan, steps)
                return None
            if self._ask(job, seen, steps) and steps[0].kind != "create":
                self._finish(job, plan, ())
                return None
        raise _StoppedError

    def _look(self, job: Job) -> tuple[Seen, SourcePlan]:
        task, key = self._task, job.wanted.key
        known_as = task.journal.name_of(key) or job.known_as
        seen = look(task.fritz, job.wanted, task.rules, known_as=known_as)
        self._looks.none()
        with self._lock:
            owner = task.owners.setdefault(seen.obj_id, key)
        if owner != key and not seen.refused:
            seen = replace(seen, refused=f"the source at its position, {seen.obj_id}, is wanted for {owner}")
        if job.only_look and seen.source is None and not seen.refused:
            seen = replace(seen, refused=f"{NOT_THERE} any more")
        if seen.source is not None:
            job.known_as = seen.obj_id
        return seen, planning.plan(job.wanted, seen, task.rules, me=task.me)

    def _settle(self, job: Job, seen: Seen, plan: SourcePlan) -> float | None:
        """Find out what became of requests without an answer; return when to look again if that cannot be said yet."""
        task = self._task
        needed = {step.name for step in plan.steps}
        there = {f"{one.id}" for one in seen.source.classifications} if seen.source is not None else set()
        later: list[float] = []
        for intent in task.journal.opened(job.wanted.key):
            if intent.kind == "delete":
                stored = [what not in there for what in intent.items]
            else:
                stored = [(intent.kind, what) not in needed for what in intent.items]
            wait_s = 0.0 if all(stored) else self._still_waits(intent)
            if wait_s > 0:
                later.append(task.clock.now() + wait_s)
                continue
            ids = found_ids(intent, job.wanted, seen)
            task.journal.outcome(intent.n, "found", ids, stored=stored)
            job.done |= {(intent.kind, what) for what, is_there in zip(intent.items, stored, strict=True) if is_there}
        return max(later, default=None)

    def _still_waits(self, intent: Intent) -> float:
        """Return how long a request may still be under way [s]; 0 or less: it is not.

        Dates of the journal are only trusted to shorten the wait: clocks are set.
        """
        if intent.is_answered:
            return 0.0
        clock, settle_s = self._task.clock, self._task.settle_s
        if not intent.is_foreign:
            return self._unanswered.get(intent.n, clock.now()) + settle_s - clock.now()
        # Its process ended before this one began; and it would not have waited longer than so.
        since_began = self._started[0] + settle_s - clock.now()
        since_asked = intent.at + LONGEST_REQUEST_S + settle_s - clock.today()
        return min(since_began, since_asked) if intent.at <= self._started[1] else since_began

    @staticmethod
    def _judge_refusal(job: Job, seen: Seen, plan: SourcePlan) -> None:
        """Say which step of a refused request is the bad one: the first that is still to be done just as it was."""
        if job.refused is None:
            return
        batch, message = job.refused
        job.refused = None
        still = {step.name: step for step in plan.steps}
        there = {one.id for one in seen.source.classifications} if seen.source is not None else set()
        bad = [step for step in batch if still.get(step.name) == step or step.remote_id in there]
        # Classes are stored one after the other up to the bad one; keys of an annotation together.
        for step in bad[:1] if batch[0].kind == "classify" else bad:
            job.failed[step.name] = message

    def _to_do(self, job: Job, seen: Seen, plan: SourcePlan) -> list[Step]:
        steps: list[Step] = []
        if seen.source is not None:
            steps = planning.second_copies(job.wanted, seen.source, self._task.journal.asked(job.wanted.key))
        if job.only_look:
            self._miss(job, plan)
            return [step for step in steps if step.name not in job.failed]
        for step in plan.steps:
            if step.kind == "delete" and step.name not in job.planned:
                continue
            if step.name in job.done:
                job.failed.setdefault(step.name, "was done, but is not there")
            if job.tries.get(step.name, 0) >= MOST_TRIES:
                job.failed.setdefault(step.name, f"no answer, {MOST_TRIES} times, and it is not there")
            steps.append(step)
        return [step for step in steps if not self._is_barred(job, step)]

    @staticmethod
    def _is_barred(job: Job, step: Step) -> bool:
        """Return whether a step has failed, or must not be done because another has."""
        if step.name in job.failed:
            return True
        failed = {kind for kind, _ in job.failed}
        if failed & {"create", "save"}:
            job.failed[step.name] = "left out, since the source is not in its groups"
        elif step.name in job.planned and step.kind == "delete" and "classify" in failed:
            job.failed[step.name] = "left, since what should take its place was not posted"
        return step.name in job.failed

    @staticmethod
    def _miss(job: Job, plan: SourcePlan) -> None:
        """Note what was there or was done, and is not there at the end."""
        for step in plan.steps:
            if step.kind != "delete" and step.name not in job.before:
                job.failed.setdefault(step.name, "is not there at the end")

    def _ask(self, job: Job, seen: Seen, steps: Sequence[Step]) -> bool:
        """Ask for steps, request after request; return whether all went well."""
        for batch in batches(steps):
            if self._stop.is_set():
                raise _StoppedError
            if any(self._is_barred(job, step) for step in batch):
                continue
            if not self._request(job, seen, batch):
                return False
            if batch[0].kind == "create":
                return True
        return True

    def _request(self, job: Job, seen: Seen, batch: tuple[Step, ...]) -> bool:
        task, key, kind = self._task, job.wanted.key, batch[0].kind
        known = (
            [one.id for one in seen.source.classifications] if seen.source is not None and kind == "classify" else ()
        )
        items = [{"what": step.what, "detail": step.detail} for step in batch]
        with self._lock:
            self.touched.setdefault(key, frozenset())
        n = task.journal.intend(key, seen.obj_id, kind, items, known=known)
        try:
            ids, told = act(task.fritz, job.wanted, seen, task.rules, batch)
        except UnsureError as error:
            self._unanswered[n] = task.clock.now()
            task.journal.outcome(n, "unsure", message=str(error))
            job.tries[batch[0].name] = job.tries.get(batch[0].name, 0) + 1
            self._answers.one_more(error)
            return False
        except ScopeError as error:
            is_partly = kind == "classify" and len(batch) > 1 and isinstance(error, QueryRefusedError)
            task.journal.outcome(n, "partly" if is_partly else "refused", message=str(error))
            if isinstance(error, NotAllowedError):
                self._check_right(kind, error)
            if isinstance(error, NO_ANSWER):
                self._answers.one_more(error)
            if isinstance(error, (*NO_ANSWER, CredentialError)):
                raise
            job.refused = (batch, str(error))
            return False
        task.journal.outcome(n, "done", ids, told)
        self._answers.none()
        job.done |= {step.name for step in batch}
        return True

    def _check_right(self, kind: str, error: NotAllowedError) -> None:
        """Tell a right that was lost from a thing that is not ours to change."""
        try:
            check_rights(self._task.fritz, [RIGHTS[kind]])
        except NotAllowedError as lost:
            raise _LostRightError(str(lost)) from error

    def _finish(self, job: Job, plan: SourcePlan, undone: Collection[Step]) -> None:
        for step in undone:
            job.failed.setdefault(step.name, "not done after many rounds")
        details = {step.name: step.detail for step in plan.steps} | dict(job.planned)
        new = {name: message for name, message in job.failed.items() if name not in job.before}
        for name, message in new.items():
            self._note(
                job, name, _LOST if name in job.done or job.only_look else "failed", message, details.get(name, "")
            )
        for name in job.planned:
            if name not in job.done and name not in job.failed:
                self._note(job, name, "already", "", details[name])
        self._remember(job)

    def _give_up(self, job: Job, message: str, *, status: str = "failed") -> None:
        """Note that a source cannot be gone on with: all its steps that were not done fail."""
        if job.only_look and job.before:
            return  # it is known already
        left = {name: detail for name, detail in job.planned.items() if name not in job.done}
        for name, detail in (left or {(status, ""): ""}).items():
            self._note(job, name, "failed", job.failed.setdefault(name, message), detail)
        for name, said in job.failed.items():
            if name not in left and name != (status, ""):
                self._note(job, name, _LOST if name in job.done else "failed", said, "")
        self._remember(job)

    def _note(self, job: Job, name: Name, status: str, message: str, detail: str) -> None:
        kind, what = name
        key, journal = job.wanted.key, self._task.journal
        journal.note(key, job.known_as or "", kind, what, status=status, message=message, detail=detail)
        counted = status if status == _LOST or name in job.planned else "unplanned"
        with self._lock:
            self.counts[counted] += 1

    def _remember(self, job: Job) -> None:
        with self._lock:
            key = job.wanted.key
            self.counts["done"] += len(job.done & job.planned.keys())
            self.counts["added"] += len(job.done - job.planned.keys())
            if key in self.touched:
                self.touched[key] = frozenset(job.failed)
            if job.failed:
                self.failures.setdefault(key, next(iter(job.failed.values())))


class _LostRightError(NotAllowedError):
    """The token may not do any more what it could."""


class _StoppedError(ScopeError):
    """Another source has stopped the run."""
