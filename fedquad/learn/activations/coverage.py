"""What is compressed: `full`, all that may be; `paper`, what FedQuad's paper did and no more."""

from typing import Literal, TypeAlias

Coverage: TypeAlias = Literal["full", "paper"]
