"""Send a campaign to MLflow while it runs: one flat run per (campaign, label, seed), nothing pickled.

Rounds are read from what is committed on disk, so this can lag, be killed or find no server without harm. An MLflow that is out of
reach is left alone for a while and gets everything later.
"""

import asyncio
import threading
import time
from typing import TYPE_CHECKING
from urllib.parse import quote

from prefect import task
from prefect.cache_policies import NO_CACHE

from fedquad.spec import CampaignSpec
from fedquad.store.campaign import CampaignFolder, tracking_uri
from tasks import track_campaign
from tasks.mlflow_store import connect, experiment, unreachable
from tasks.progress import announce
from tasks.show import show_link
from tasks.track_arm import Sending

if TYPE_CHECKING:
    from mlflow import MlflowClient

MLFLOW_UI = "http://127.0.0.1:5000"  # of `mlflow ui`
PATIENCE_SECONDS = 30.0  # a server that does not answer is left alone so long: each try costs up to its timeout


class Tracker:
    """Sends the arms of one campaign. Not a record: Prefect looks into records that a task is given."""

    def __init__(self, campaign: CampaignFolder, spec: CampaignSpec) -> None:
        self.campaign = campaign
        self.spec = spec
        self.uri = tracking_uri()
        self._lock = threading.Lock()
        self._sendings: dict[tuple[str, int], Sending] = {}
        self._client: MlflowClient | None = None
        self._reason = ""  # why MLflow is out of reach; empty while it is not
        self._silent_until = 0.0

    def begin(self) -> None:
        """Load mlflow and open its store while the first round trains: both take seconds of CPU."""
        with self._lock:
            try:
                self._connect()
            except unreachable() as error:
                self._give_up(error)

    def send(self, label: str, method: str, seed: int, finished: bool = False) -> str:
        """Send the committed rounds that MLflow has not got; returns "" or why it could not."""
        with self._lock:
            if self._reason and not finished and time.monotonic() < self._silent_until:
                return self._reason
            try:
                self._sending(label, method, seed).send(finished)
            except unreachable() as error:
                return self._give_up(error)
            if self._reason:
                self._reason = ""
                announce("notice", message=f"MLflow answers again at {self.uri}")
            return ""

    def send_campaign(self) -> str:
        """Give the campaign's own run its report; returns "" or why it could not."""
        with self._lock:
            if self._reason and time.monotonic() < self._silent_until:
                return self._reason
            try:
                client = self._connect()
                track_campaign.send(client, experiment(client), self.campaign)
            except unreachable() as error:
                return self._give_up(error)
            return ""

    def page(self) -> str | None:
        """MLflow's page of this campaign's runs, where a server shows one; None where there is none, or it is out of reach."""
        if not self.uri.startswith(("http://", "https://")) or self._reason:
            return None
        with self._lock:
            try:
                found = experiment(self._connect())
            except unreachable() as error:
                self._give_up(error)
                return None
        wanted = quote(f"tags.campaign = '{self.campaign.name}'")
        return f"{self.uri.rstrip('/')}/#/experiments/{found}/runs?searchFilter={wanted}"

    def link(self, label: str, seed: int) -> str:
        """Where an arm's run is in MLflow's pages, said once; a file's are where `mlflow ui` puts them unless told."""
        with self._lock:
            sending = self._sendings.get((label, seed))
            if sending is None or sending.is_linked or not sending.cursor["run_id"]:
                return ""
            sending.is_linked = True
            pages = self.uri if self.uri.startswith(("http://", "https://")) else MLFLOW_UI
            return f"{pages.rstrip('/')}/#/experiments/{sending.experiment}/runs/{sending.cursor['run_id']}"

    def _sending(self, label: str, method: str, seed: int) -> Sending:
        """The one that knows how far this arm has been sent."""
        client = self._connect()
        if (label, seed) not in self._sendings:
            self._sendings[label, seed] = Sending(client, self.uri, self.campaign, self.spec, label, method, seed)
        return self._sendings[label, seed]

    def _connect(self) -> "MlflowClient":
        if self._client is None:
            self._client = connect(self.uri)
        return self._client

    def _give_up(self, error: Exception) -> str:
        """Remember, and say once, that MLflow is out of reach."""
        if not self._reason:
            why = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
            is_server = self.uri.startswith(
                ("http://", "https://")
            )  # MLflow's reason is then the address in 200 letters
            cause = f"at {self.uri}" if is_server else f"({why})"
            announce(
                "notice", message=f"MLflow is out of reach {cause}; the campaign goes on and sends its rounds later"
            )
            self._reason = why
        self._silent_until = time.monotonic() + PATIENCE_SECONDS
        return self._reason


@task(name="track", task_run_name="round {number} - track", cache_policy=NO_CACHE, persist_result=False)
async def track(tracker: Tracker, label: str, method: str, seed: int, number: int) -> str:
    """Bring MLflow up to date in a thread, and link its run from this one; out of reach is an answer, not a failure."""
    said = await asyncio.to_thread(tracker.send, label, method, seed)
    if link := tracker.link(label, seed):
        await show_link(tracker.campaign.name, label, seed, link)
    return said
