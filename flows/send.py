"""Send a finished campaign's rounds to MLflow, which was out of reach while it ran. Nothing is computed."""

from fedquad.spec import CampaignSpec
from fedquad.store.campaign import campaign
from flows import settings
from tasks.progress import LISTENER


def run(spec: CampaignSpec, name: str) -> list[str]:
    """Send every arm's rest; returns what there is to say."""
    folder = campaign(name)
    settings.apply(folder.path.parents[1])
    settings.find_servers()
    from tasks.track import Tracker  # after the settings: it imports prefect

    said: list[str] = []
    LISTENER.set(lambda event, facts: said.append(facts["message"]) if event == "notice" else None)
    with folder.open(spec):
        tracker = Tracker(folder, spec)
        reasons = [tracker.send(arm.name, arm.method, seed, finished=True) for arm in spec.arms for seed in spec.seeds]
    return said if any(reasons) else [*said, f"MLflow has got every round now ({tracker.uri})"]
