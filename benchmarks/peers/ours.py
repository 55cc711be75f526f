"""The same as a campaign, with all that a campaign does: Prefect, MLflow, a durable round, the merged model scored on 32 examples.

python -m benchmarks.peers.ours CAMPAIGN.yaml
"""

import sys
from typing import Any

from benchmarks.peers.task import say
from flows.edge import described
from flows.launch import run


def main() -> None:
    is_ready = False

    def listen(event: str, facts: dict[str, Any]) -> None:
        nonlocal is_ready
        if event == "planned" and not is_ready:
            is_ready = True
            say("ready")
        if event == "round":
            say("round")

    run(described(sys.argv[1]), "peers", listener=listen)


if __name__ == "__main__":
    main()
