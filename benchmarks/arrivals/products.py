"""Three products that are drawn anew for each seed: a coding assistant, a document pipeline and a voice agent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

STARTS = ("2026-03-09", "2026-05-18", "2026-09-07", "2026-10-12")  # Mondays; the first and last meet a change of clocks
LANGUAGES = {"de": "de", "us": "en", "jp": "ja", "br": "pt", "in": "en"}
PROVIDERS = ("cirrus", "halcyon", "meridian", "quanta", "boreal", "tessera", "lumen", "octave")
HOSTS = ("cluster-a", "onprem", "gpu-farm", "edge")
STEMS = ("atlas", "finch", "onyx", "rhea", "sable", "tundra", "vesper", "wren", "zephyr", "ibis", "koru", "larch")


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """How a model is served."""

    name: str
    provider: str
    local: bool = False  # own machines: a queue, no price
    speed: float = 80.0  # tokens/s
    prefill: float = 8000.0  # tokens/s
    base_ms: float = 220.0
    price: tuple[float, float] = (0.0, 0.0)  # USD per million tokens read, written
    keep_s: float = 0.0  # how long a prompt stays cached; 0: no cache
    failing: float = 0.003  # share of attempts
    tells_queue: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One call within a trace. `models` are tried in order; without any it is a tool."""

    op: str
    models: tuple[int, ...] = ()
    ms: float = 0.0  # of a tool
    scale_in: float = 1.0
    scale_out: float = 1.0
    most_out: int = 4000
    repeats: float = 1.0  # mean number of times, at least once
    grounded: bool = False  # answers from retrieved passages: quality is judged
    searches: bool = False  # a search: its time is the latency of retrieval


@dataclass(frozen=True, slots=True, kw_only=True)
class Cron:
    """A run at a local time on weekdays."""

    country: str
    hour: float
    minutes: float
    calls: int
    weekdays: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A place in the product that calls models."""

    name: str
    stream: str
    steps: tuple[Step, ...]
    root: str | None = None  # operation of the span around the steps
    daily: float = 0.0  # traces
    shape: str = "office"
    cron: Cron | None = None
    template: int = 400  # tokens of the prompt that never change
    streams: float = 0.0  # share of calls
    timeout_s: float = 60.0
    tries: int = 2
    attempt_rows: bool = False  # each attempt is a row; otherwise one row counts them
    lacks: frozenset[str] = frozenset()  # columns that this instrumentation never fills
    tenant: str | None = None  # all calls are of this one


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """A customer."""

    name: str
    country: str
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """Everything that stays the same through a case."""

    kind: str
    start: pd.Timestamp
    days: int
    models: tuple[Model, ...]
    sites: tuple[Site, ...]
    tenants: tuple[Tenant, ...]


class Draw:
    """Names and numbers of one seed."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.providers = rng.permutation(PROVIDERS).tolist()
        self.stems = rng.permutation(STEMS).tolist()
        self.host = str(rng.choice(HOSTS))

    def near(self, value: float, spread: float = 0.25) -> float:
        """A number about that large."""
        return float(value * np.exp(self.rng.normal(0, spread)))

    def one(self, *words: str) -> str:
        """One of the words."""
        return str(self.rng.choice(words))

    def hosted(self, provider: int, speed: float, price: tuple[float, float], keep_s: float = 0.0) -> Model:
        """A model behind somebody's API."""
        return Model(
            name=f"{self.stems.pop()}-{self.rng.integers(2, 9)}",
            provider=self.providers[provider],
            speed=self.near(speed),
            prefill=self.near(9000),
            base_ms=self.near(240),
            price=price,
            keep_s=keep_s,
            failing=self.near(0.003, 0.4),
        )

    def local(self, speed: float, base_ms: float, prefill: float = 6000.0) -> Model:
        """A model on machines of one's own."""
        name = f"{self.stems.pop()}-{self.rng.choice(('1b', '3b', '8b', 'base', 'large'))}"
        return Model(
            name=name, provider=self.host, local=True, speed=self.near(speed), prefill=prefill, base_ms=base_ms,
            failing=0.0008, tells_queue=True,
        )  # fmt: skip

    def tenants(self, count: int, zipf: float, countries: Sequence[str]) -> tuple[Tenant, ...]:
        """Customers of very unequal size."""
        weights = (1 + np.arange(count)) ** -zipf
        stem = self.one("org", "team", "acct", "client")
        numbers = self.rng.choice(np.arange(100, 1000), count, replace=False)
        return tuple(
            Tenant(name=f"{stem}-{number}", country=countries[i % len(countries)], weight=float(weight))
            for i, (number, weight) in enumerate(zip(numbers, weights / weights.sum(), strict=True))
        )


def product_of(seed: int, days: int) -> Product:
    """The product of a seed: which of the three is its rest by three."""
    rng = np.random.default_rng([seed, 31])
    kind, make = (("papers", _papers), ("studio", _studio), ("voice", _voice))[seed % 3]
    draw = Draw(rng)
    start = pd.Timestamp(str(rng.choice(STARTS)))
    models, sites, tenants = make(draw)
    return Product(kind=kind, start=start, days=days, models=models, sites=sites, tenants=tenants)


Parts = tuple[tuple[Model, ...], tuple[Site, ...], tuple[Tenant, ...]]


def _rag(draw: Draw, answer: str, embed: int, models: tuple[int, ...], **more: float) -> tuple[Step, ...]:
    """The steps of an answer from retrieved passages."""
    return (
        Step(op=draw.one("embed_query", "vectorise", "query_embedding"), models=(embed,), scale_in=0.03, most_out=0),
        Step(op=draw.one("vector_search", "search_chunks", "find_passages"), ms=draw.near(90), searches=True),
        Step(op=answer, models=models, grounded=True, **more),  # type: ignore[arg-type]
    )


def _studio(draw: Draw) -> Parts:
    """A coding assistant for companies: office hours of two continents with lunch dips, agents, a local completer."""
    models = (
        draw.hosted(0, 70, (3.0, 15.0), keep_s=300),
        draw.hosted(1, 110, (0.5, 2.0), keep_s=600),
        draw.local(130, 30),
        draw.hosted(2, 1e6, (0.1, 0.0)),
        draw.hosted(1, 85, (2.0, 8.0), keep_s=600),
    )
    agent = (
        Step(op=draw.one("plan_step", "think", "agent_turn"), models=(0, 4), repeats=3.2, scale_in=0.4),
        Step(op=draw.one("run_tests", "shell_tool", "apply_patch"), ms=draw.near(900), repeats=3.2),
    )
    chat = draw.one("repo_answer", "explain_code", "chat_reply")
    sites = (
        Site(name="complete", stream="azure_code", daily=draw.near(2000), template=250, timeout_s=8, tries=1,
             steps=(Step(op=draw.one("complete_line", "inline_suggest", "ghost_text"), models=(2, 1), scale_in=0.5),),
             lacks=frozenset({"ttft_ms", "network_time_ms"})),
        Site(name="chat", stream="moon_conversation", daily=draw.near(420), root=draw.one("ask_repo", "chat_request"),
             steps=_rag(draw, chat, 3, (0, 1), scale_in=0.5), template=1300, streams=0.9, attempt_rows=True,
             timeout_s=180),
        Site(name="agent", stream="moon_synthetic", daily=draw.near(150), root=draw.one("fix_issue", "coding_task"),
             steps=agent, template=2500, timeout_s=120, tries=3, attempt_rows=True,
             lacks=frozenset({"network_time_ms"})),
        Site(name="commit", stream="azure_conv", daily=draw.near(500), tries=3, template=300, shape="office",
             steps=(Step(op=draw.one("commit_message", "name_branch"), models=(1,), scale_out=0.3),),
             lacks=frozenset({"ttft_ms", "session_id"})),
        Site(name="index", stream="azure_code", tenant="indexer",
             lacks=frozenset({"session_id", "ttft_ms", "network_time_ms"}),
             steps=(Step(op=draw.one("index_repo", "refresh_index"), models=(3,), most_out=0),),
             cron=Cron(country="de", hour=2.2, minutes=40, calls=int(draw.near(260)))),
        Site(name="evals", stream="azure_conv", tenant="ci", lacks=frozenset({"session_id"}),
             steps=(Step(op=draw.one("regression_eval", "golden_set"), models=(4,)),),
             cron=Cron(country="us", hour=4.0, minutes=60, calls=int(draw.near(200)), weekdays=(0, 2, 4))),
        Site(name="load test", stream="azure_code", tenant="loadtest", template=300, tries=3,
             lacks=frozenset({"session_id"}),
             steps=(Step(op=draw.one("stress_prompt", "canary_load"), models=(1,)),),
             cron=Cron(country="de", hour=3.5, minutes=25, calls=int(draw.near(420)), weekdays=(2,))),
    )  # fmt: skip
    return models, sites, draw.tenants(28, 1.1, ("de", "us"))


def _papers(draw: Draw) -> Parts:
    """A document pipeline: most of it at night, in bulk, on local readers; questions by day."""
    models = (
        draw.hosted(0, 95, (1.2, 5.0)),
        draw.hosted(1, 150, (0.3, 1.2), keep_s=600),
        draw.local(400, 180, prefill=2500),
        draw.local(1e6, 25),
        draw.hosted(2, 60, (2.5, 10.0), keep_s=300),
    )
    steps = (
        Step(op=draw.one("read_page", "ocr_page", "scan_text"), models=(2,), repeats=2.4, scale_in=0.6, scale_out=2.0),
        Step(op=draw.one("extract_fields", "parse_invoice"), models=(0, 4), scale_in=1.2, scale_out=2.5),
        Step(op=draw.one("check_fields", "validate_json"), models=(1,), scale_in=0.3),
        Step(op=draw.one("embed_chunks", "vectorise_pages"), models=(3,), most_out=0),
    )
    bulk = Cron(country="de", hour=1.0, minutes=170, calls=int(draw.near(430, 0.15)))
    answer = draw.one("answer_from_file", "document_answer")
    weekly = Step(op=draw.one("weekly_digest", "board_summary"), models=(4,), scale_in=2, scale_out=3)
    uploads = Site(
        name="upload", stream="azure_code", daily=draw.near(230), steps=steps,
        root=draw.one("ingest_upload", "new_file"), template=900, tries=3, timeout_s=90,
        lacks=frozenset({"session_id"}),
    )  # fmt: skip
    sites = (
        uploads,
        Site(name="bulk", stream="azure_code", steps=steps, root=draw.one("nightly_ingest", "bulk_import"), cron=bulk,
             template=900, tries=3, timeout_s=90, lacks=frozenset({"session_id", "user_id"})),
        Site(name="ask", stream="moon_conversation", daily=draw.near(520), root=None, streams=0.7, template=900,
             steps=_rag(draw, answer, 3, (4, 0), scale_in=0.4), attempt_rows=True, timeout_s=45),
        Site(name="translate", stream="azure_conv", daily=draw.near(300), template=200, shape="office",
             steps=(Step(op=draw.one("translate_section", "localise"), models=(0,), scale_out=3.0),),
             lacks=frozenset({"user_id", "ttft_ms"})),
        Site(name="classify", stream="azure_code", daily=draw.near(700), template=1500,
             steps=(Step(op=draw.one("classify_file", "route_document"), models=(1,), most_out=20, scale_in=0.4),),
             lacks=frozenset({"cost_usd", "session_id"})),
        Site(name="digest", stream="moon_synthetic", tenant="reports", steps=(weekly,), timeout_s=180,
             cron=Cron(country="de", hour=15.5, minutes=45, calls=int(draw.near(90)), weekdays=(4,))),
    )  # fmt: skip
    return models, sites, draw.tenants(60, 0.95, ("de", "us", "br"))


def _voice(draw: Draw) -> Parts:
    """A voice agent on three continents: flat through the day, local ears and mouth, waiting is all that matters."""
    models = (
        draw.hosted(0, 140, (0.6, 2.4), keep_s=300),
        draw.hosted(1, 160, (0.4, 1.6), keep_s=300),
        draw.local(300, 110),
        draw.local(500, 90),
        draw.hosted(0, 110, (1.0, 4.0)),
        draw.hosted(2, 1e6, (0.05, 0.0)),
    )
    turn = (
        Step(
            op=draw.one("transcribe", "hear", "speech_to_text"), models=(2,), scale_in=0.02, scale_out=0.1, most_out=90
        ),
        Step(op=draw.one("reply", "dialogue", "respond"), models=(0, 1), scale_in=0.12, scale_out=0.25, most_out=160),
        Step(op=draw.one("speak", "text_to_speech", "say"), models=(3,), scale_in=0.02, scale_out=0.25, most_out=160),
    )
    answer = draw.one("policy_answer", "look_up", "knowledge_reply")
    book = Step(op=draw.one("book_slot", "crm_lookup", "calendar_tool"), ms=draw.near(400))
    sites = (
        Site(name="turn", stream="moon_conversation", daily=draw.near(950, 0.15), shape="service", steps=turn,
             template=1600, root=draw.one("handle_turn", "voice_turn"), streams=1.0, timeout_s=10),
        Site(name="knowledge", stream="azure_conv", daily=draw.near(380), shape="service", template=700, streams=0.5,
             steps=_rag(draw, answer, 5, (1, 4), scale_in=0.8), attempt_rows=True, lacks=frozenset({"session_id"})),
        Site(name="summary", stream="azure_conv", daily=draw.near(330), shape="flat", template=350, tries=3,
             steps=(Step(op=draw.one("call_summary", "wrap_up"), models=(4, 1)),), lacks=frozenset({"ttft_ms"})),
        Site(name="booking", stream="azure_code", daily=draw.near(280), shape="evening",
             root=draw.one("make_booking", "order"),
             steps=(Step(op=draw.one("pick_intent", "fill_form"), models=(1, 0), scale_in=0.2), book), template=500),
        Site(name="scoring", stream="azure_conv", tenant="quality", lacks=frozenset({"session_id", "network_time_ms"}),
             steps=(Step(op=draw.one("score_calls", "judge_calls"), models=(4,), scale_out=0.4),),
             cron=Cron(country="us", hour=22.5, minutes=50, calls=int(draw.near(300)))),
        Site(name="campaign", stream="azure_code", tenant="outbound", lacks=frozenset({"ttft_ms"}),
             steps=(Step(op=draw.one("draft_outreach", "campaign_text"), models=(4,), scale_out=2),),
             cron=Cron(country="br", hour=10.0, minutes=30, calls=int(draw.near(150)), weekdays=(0, 1, 2, 3, 4))),
    )  # fmt: skip
    return models, sites, draw.tenants(16, 1.3, ("us", "jp", "de", "in", "br"))
