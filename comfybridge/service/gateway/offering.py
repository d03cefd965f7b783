"""Which version of each template a gateway hands to whom, by its folder, looked at every few seconds, and rollbacks."""

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from comfybridge.errors import InvalidInput
from comfybridge.service import templates
from comfybridge.service.catalogue import Classes
from comfybridge.service.fleet import Fleet
from comfybridge.service.gateway import trials
from comfybridge.service.gateway.callers import Caller
from comfybridge.service.rollout import Sentence
from comfybridge.service.supervised import DATABASE_FAULTS
from comfybridge.service.templates import BadTemplates, Files, Signature, Templates, Version
from comfybridge.template import Template

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
"""What has changed is taken over at the second look that finds it the same."""


@dataclass(slots=True)
class Offering:
    """``held`` is the last good state of ``folder``, taken over whole; ``problems`` is what keeps the next one away."""

    folder: Path | None = None
    every_s: float = LOOK_EVERY_S
    held: Templates = field(default_factory=templates.built_in)
    problems: list[Sentence] = field(default_factory=list)
    lacking: Mapping[str, list[Sentence]] = field(default_factory=dict)
    """By full name, what no server of the fleet has."""
    graphs: Mapping[str, Template] = field(default_factory=dict)
    """By full name, the versions in the folder as the fleet runs them."""
    barred: Mapping[str, frozenset[str]] | None = None
    """The versions that are rolled back, by template; ``None`` until that is known."""
    read_at: float | None = None
    _seen: Signature | None = None
    _taken: Signature | None = None
    _unkept: Files | None = None
    _told: set[str] = field(default_factory=set)
    _begun: set[tuple[str, str]] = field(default_factory=set)
    _reading: asyncio.Lock = field(default_factory=asyncio.Lock)
    _checked: tuple[Templates | None, Classes | None] = (None, None)

    def version(self, name: str, caller: Caller, user: str) -> Version | None:
        """What a caller gets under a template's name; ``None`` where there is no such template."""
        held = self.held
        known = held.versions.get(name)
        if known is None:
            return None
        stable = known[held.stable(name)]
        rollout = held.rollouts.get(name)
        if rollout is None or self.barred is None:
            return stable
        barred = self.barred.get(name, frozenset())
        number = rollout.assigned(name, key=caller.name, owner=caller.owner, user=user, barred=barred)
        chosen = known[number]
        return stable if chosen.full_name in self.lacking else chosen

    def exactly(self, full_name: str) -> Version | None:
        """One version, whatever the rules say."""
        name, _, number = full_name.partition("@")
        return self.held.versions.get(name, {}).get(number)

    def look(self) -> bool:
        """Read the folder where it has changed and come to rest; whether something else is held now."""
        if self.folder is None:
            return False
        found = templates.signature(self.folder)
        has_come_to_rest, self._seen = found is not None and found == self._seen, found
        if not has_come_to_rest or found == self._taken:
            if found is None and not self.folder.is_dir():
                self._refused([(f"There is no folder {self.folder}.", f"没有文件夹 {self.folder}。")])
                self._taken = None
            return False
        try:
            files = templates.load(self.folder)
            read = templates.read(files)
        except BadTemplates as exc:
            if templates.signature(self.folder) == found:
                self._taken = found
                self._refused(exc.problems)
            return False
        if templates.signature(self.folder) != found:
            return False
        self.held, self.problems, self._taken, self.read_at, self._unkept = read, [], found, time.time(), files
        logger.info("templates read from %s: %d versions", self.folder, sum(map(len, read.versions.values())))
        return True

    def _refused(self, problems: list[Sentence]) -> None:
        if problems != self.problems:
            for english, _ in problems:
                logger.error("templates: %s What was read last stays.", english)
        self.problems = problems

    def first_look(self) -> None:
        """Read the folder at once."""
        if self.folder is not None:
            self._seen = templates.signature(self.folder)
            self.look()

    async def run(self, pool: AsyncConnectionPool, fleet: Fleet) -> None:
        """Keep up with the folder, the fleet and the runs, until cancelled."""
        while True:
            try:
                await asyncio.to_thread(self.look)
                await self.keep_up(pool, fleet)
            except DATABASE_FAULTS as exc:
                logger.warning("templates: the database is away: %s", exc)
            await asyncio.sleep(self.every_s)

    async def keep_up(self, pool: AsyncConnectionPool, fleet: Fleet) -> None:
        """Write down new rules, read what is rolled back, judge what is on trial, ask who can run what."""
        async with pool.connection() as connection:
            if self.folder is not None:
                await self._keep_files(connection, self.folder)
            held = self.held
            rollouts, digests = held.rollouts, held.digests
            for name, digest in digests.items():
                if (name, digest) not in self._begun:
                    await trials.begin(connection, name, rollouts[name])
                    self._begun.add((name, digest))
            await self.read_barred(connection)
            if await trials.judge(connection, rollouts):
                await self.read_barred(connection)
        if self.folder is not None:
            await fleet.refresh()
            checked, classes = self._checked
            if checked is not held or classes is not fleet.classes:
                self._checked = (held, fleet.classes)
                self.graphs, self.lacking = await asyncio.to_thread(_converted, held, fleet.classes)
                self._tell_lacking()

    async def read_barred(self, connection: AsyncConnection) -> None:
        """Read what is rolled back; one after the other, so that what was read first is not what is known last."""
        async with self._reading:
            self.barred = await trials.barred(connection, self.held.digests)

    async def _keep_files(self, connection: AsyncConnection, folder: Path) -> None:
        """Keep what was read for those who start on a folder that is broken, or take what was kept."""
        if self._unkept is not None:
            await trials.keep_files(connection, str(folder), self._unkept)
            self._unkept = None
        if self.read_at is not None or not self.problems:
            return
        self.read_at = 0.0
        kept = await trials.kept_files(connection, str(folder))
        if kept is None:
            return
        files, self.read_at = kept
        try:
            self.held = await asyncio.to_thread(templates.read, files)
        except BadTemplates as exc:
            logger.error("templates: what was read last is of no use any more: %s", exc)  # noqa: TRY400
            return
        logger.warning("templates: taken as %s was read last", folder)

    def _tell_lacking(self) -> None:
        for full_name in self.lacking.keys() - self._told:
            logger.warning("no server can run %s: %s", full_name, self.lacking[full_name][0][0])
        self._told = set(self.lacking)


def _converted(held: Templates, classes: Classes) -> tuple[dict[str, Template], dict[str, list[Sentence]]]:
    graphs: dict[str, Template] = {}
    lacking: dict[str, list[Sentence]] = {}
    ours = [version for of in held.versions.values() for version in of.values() if not version.is_built_in]
    # Without any class no server has been asked yet.
    for version in ours if classes else ():
        try:
            graph = templates.converted(version, classes)
        except InvalidInput as exc:
            lacking[version.full_name] = [(str(exc), exc.zh)]
            continue
        graphs[version.full_name] = graph
        if lacks := templates.lacks(graph, classes):
            lacking[version.full_name] = lacks
    return graphs, lacking
