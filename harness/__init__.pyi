from harness.api import Table as Table
from harness.api import accept as accept
from harness.api import curves as curves
from harness.api import drift as drift
from harness.api import metrics as metrics
from harness.api import plan as plan
from harness.api import reproduce as reproduce
from harness.api import scores as scores
from harness.api import table as table

__version__: str
__all__ = ["Table", "accept", "curves", "drift", "metrics", "plan", "reproduce", "scores", "table"]
