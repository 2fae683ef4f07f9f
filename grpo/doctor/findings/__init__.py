"""What is wrong with a run, why that is likely, and what to do; and the run's verdict in one word."""

from grpo.doctor.findings.diagnosis import diagnose
from grpo.doctor.findings.judgement import Verdict, verdict
from grpo.doctor.findings.kinds import KINDS, Finding
from grpo.doctor.findings.reading import RunError

__all__ = ["KINDS", "Finding", "RunError", "Verdict", "diagnose", "verdict"]
