"""A world, and what becomes of it: after each change everything is asked again."""

from __future__ import annotations

import random
import time
from collections import Counter

from tests.harness import Workspace
from tests.worlds.changes import Change, direct_change, person_change
from tests.worlds.effects import expected, finishes_removal
from tests.worlds.making import Cast, random_world
from tests.worlds.oracle import World, rights
from tests.worlds.previews import Foretold, difference, foretell
from tests.worlds.questions import Asker
from tests.worlds.stored import stored_world

__all__ = ["Walk"]

NO_RIGHT_TO_ASK = "Permission 'manage_access' denied"


class Walk:
    """One world of one seed. `wrong` says what disagreed, `seen` what happened."""

    def __init__(self, ws: Workspace, seed: int) -> None:
        self.ws, self.seed, self.rng = ws, seed, random.Random(seed)
        self.wrong: list[str] = []
        self.seen: Counter[str] = Counter()
        self.cast = Cast()

    async def begin(self, *, of_teams: bool = False) -> World:
        name = f"w{self.seed}"
        self.cast = await random_world(self.ws, self.rng, name, of_teams=of_teams)
        return await stored_world(self.ws, self.cast)

    async def run(self, steps: int) -> None:
        """All questions of the world, then `steps` changes with a sample each."""
        world = await self.begin()
        await self.ask(world)
        for _ in range(steps):
            await self._step(world)
            if self.wrong:
                return
            world = await stored_world(self.ws, self.cast)

    async def foretell_all(self, steps: int) -> None:
        """Changes by people alone: what was foretold of them, and what they did. Every
        other world is one of teams."""
        world = await self.begin(of_teams=self.seed % 2 == 1)
        for _ in range(steps):
            change = person_change(self.rng, self.cast, world)
            if change is None or self.wrong:
                return
            await self._by_person(change, world, f"{change.kind} {change.request}")
            world = await stored_world(self.ws, self.cast)

    async def ask(self, world: World) -> None:
        """Every question there is; `world` is what the oracle goes by."""
        self._note("at first", await Asker(self.ws, self.cast, world, self.rng).everything())

    async def _step(self, world: World) -> None:
        change = person_change(self.rng, self.cast, world) if self.rng.random() < 0.7 else None
        token = ""
        if change is None:
            what, token = await direct_change(self.ws, self.cast, self.rng)
            self.seen["direct"] += 1
        else:
            what = f"{change.kind} by {change.actor} {change.request}"
            await self._by_person(change, world, what)
        after = await stored_world(self.ws, self.cast)
        self._note(what, await Asker(self.ws, self.cast, after, self.rng).some(token))

    async def _by_person(self, change: Change, world: World, what: str) -> None:
        now = time.time()
        foretold = await foretell(self.ws, self.cast, world, change, self.rng, now)
        refusal = await change.make(self.ws, self.cast)
        after = await stored_world(self.ws, self.cast)
        turns = difference(world, after, now)
        self.seen[f"{change.kind} {'refused' if refusal else 'turns' if turns else 'made'}"] += 1
        if refusal and turns and not finishes_removal(world, change):
            self._note(what, [f"refused, but it changed {turns}: {refusal}"])
        for each in foretold:
            if not self._may_not_ask(each, change, world, now):
                self._note(what, _refused_alike(each, refusal))
            # Previews do not foresee that a return finishes an interrupted removal.
            if not refusal and not each.refusal and not finishes_removal(world, change):
                self._note(what, each.compared(turns))
                self.seen["preview"] += 1
                self.seen["preview with entries"] += bool(each.entries)
        by_text = None if refusal else expected(world, self.cast, change, now)
        if by_text is not None and (other := difference(by_text, after, now)):
            self._note(what, [f"the text says otherwise: {other}"])

    def _may_not_ask(self, each: Foretold, change: Change, world: World, now: float) -> bool:
        """Whether the preview was rightly denied to who lacks `manage_access`; he may
        still give up a grant of his own."""
        if NO_RIGHT_TO_ASK not in each.refusal or not each.of_project:
            return False
        return "manage_access" not in rights(world, change.actor, each.of_project, now)

    def _note(self, what: str, wrong: list[str]) -> None:
        flat = " ".join(what.split())
        self.wrong += [f"seed {self.seed}: {each} (after {flat})" for each in wrong]


def _refused_alike(each: Foretold, refusal: str) -> list[str]:
    """A preview raises what the change would raise; but for the names of fields in
    what is malformed."""
    if each.refusal == refusal:
        return []
    if each.refusal.startswith("INVALID_ARGUMENT") and refusal.startswith("INVALID_ARGUMENT"):
        return []
    return [f"{each.what} was refused {each.refusal!r}, the change {refusal!r}"]
