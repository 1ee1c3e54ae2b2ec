"""What is checked against fixed limits, by people's rules or about tracewatch itself, and the incidents it makes."""

from tracewatch.checks.base import RULES, SELF, Check
from tracewatch.checks.conditions import Conditions
from tracewatch.checks.health import Health, Vitals
from tracewatch.checks.settling import Settled, settle

__all__ = ["RULES", "SELF", "Check", "Conditions", "Health", "Settled", "Vitals", "settle"]
