"""Stands for torch in a process that computes nothing: torch is what makes a process slow to start. Never import it in
tests themselves.
"""

import sys
from types import ModuleType

sys.modules["torch"] = ModuleType("torch")
sys.modules["torch"].Tensor = type("Tensor", (), {})
