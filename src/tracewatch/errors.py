"""Every error tracewatch raises; the docstring is the message, filled with what was given."""

from __future__ import annotations


class TracewatchError(Exception):
    """Something went wrong in tracewatch."""

    def __init__(self, **given: object) -> None:
        self.given = given
        super().__init__(" ".join((type(self).__doc__ or "").split()).format_map(given))


class MissingExtra(TracewatchError):
    """{what} needs {package}. Install it with: pip install 'tracewatch[{extra}]'"""


class UnknownColumn(TracewatchError):
    """cannot ask {table} for '{name}': its columns are {columns}. All of them are in docs/fields.md"""


class MisspeltColumn(UnknownColumn):
    """cannot ask {table} for '{name}': did you mean {guess}?"""


class BadFilter(TracewatchError):
    """cannot read the filter '{given}': {why}. Write it like status=error, cost_usd>0.05 or model_name=a,b"""


class BadTime(TracewatchError):
    """cannot read '{given}' as a time. Write it like 24h, 7d, 2026-03-02, 2026-03-02T10:00:00Z or epoch seconds"""


class PeriodTooLong(TracewatchError):
    """cannot look at {days} days at once: {longest} are the most. Give a shorter time"""


class BadWindow(TracewatchError):
    """the period from {since} to {until} is empty: give a --since that lies before --until"""


class BadCursor(TracewatchError):
    """cannot continue from the cursor '{given}': it is not one this store gave out. Start again without a cursor"""


class BadSetting(TracewatchError):
    """the setting {name} is '{given}', but {why}"""


class BadMetric(TracewatchError):
    """cannot watch '{given}': {why} (TRACEWATCH_METRICS is written like metadata.judge_score:down, quality.tone)"""


class StoreNotFound(TracewatchError):
    """there is no database at {path}. Load something with: tracewatch import FILE --db {path}"""


class StoreUnreadable(TracewatchError):
    """cannot open {path} as a database: {why}"""


class StoreTooNew(TracewatchError):
    """{path} was written by a newer tracewatch (schema {found}; this one knows {known}).
    Upgrade with: pip install --upgrade tracewatch"""


class StoreOccupied(TracewatchError):
    """{path} has a table '{table}' that tracewatch did not make, so nothing was changed.
    Use another file with --db, and bring the rows over with: tracewatch import FILE --as traces"""


class StoreBusy(TracewatchError):
    """{path} was locked by another process for {seconds} s. Nothing was written; try again"""


class StoreUnwritable(TracewatchError):
    """cannot write to {path}: {why}. Nothing of this write was kept"""


class LeaseLost(TracewatchError):
    """{path} is watched by another process now ({holder}), because this one had said nothing for too long.
    Nothing of this write was kept"""


class CompactedElsewhere(TracewatchError):
    """{path} is being compacted by another process ({holder}): wait until it has done, or stop it"""


class NotAFile(TracewatchError):
    """{name} is a database server, which an app does not write to by itself. Run tracewatch serve on it,
    and give the app the address of that server: http://HOST:4319"""


class UnknownStore(TracewatchError):
    """cannot open '{url}' as a store: use a file path, sqlite:///PATH, sqlite:///PATH?durability=full,
    postgresql://USER@HOST/DATABASE or clickhouse://USER@HOST/DATABASE"""


class ServerNoStore(UnknownStore):
    """'{url}' is the address of a server, and its database is wanted here: name the file or address that the server
    was started with, as in --db watch.db"""


class BadStoreAddress(TracewatchError):
    """cannot read the address {name}: {why}"""


class ImportRefused(TracewatchError):
    """cannot read {path}: {why}"""


class ImportStopped(TracewatchError):
    """{why}. The import of {path} stopped there: {stored:,} rows of it are in the database, and the same command
    continues"""


class NotFound(TracewatchError):
    """there is no {what} '{given}' in {where}. {hint}"""


class Ambiguous(TracewatchError):
    """{count} {what}s begin with '{given}' ({some} …). Give more of the id"""


class BadPrice(TracewatchError):
    """cannot use this price: {why}"""


class BadRecord(TracewatchError):
    """cannot keep this {noun}: {name} is {given}, but {why}. Nothing of this write was kept"""


class BadSketch(TracewatchError):
    """cannot use this sketch: {why}"""


class BadToken(TracewatchError):
    """cannot read on from the token '{given}': it is not one this store gave out. Take a new one from its tip"""


class BadStep(TracewatchError):
    """cannot roll up by {given} s: a step is 60 s, 3600 s or a multiple of one of them"""


class DemoOccupied(TracewatchError):
    """{path} is there already and is not a demo of ours, so nothing was changed. Choose another file with --db"""


class DemoInDatabase(TracewatchError):
    """the demo makes a file of its own, and {name} is on a database server. Choose a file with --db"""


class DemoWorkloadMissing(TracewatchError):
    """the demo's workload is not at {path}. Install tracewatch again, or run the demo from a checkout"""


class BadMapping(TracewatchError):
    """cannot read the mapping {path}: {why}"""


class FollowingFailed(TracewatchError):
    """cannot read the table {table}: {why}. It is tried again"""


class CopyRefused(TracewatchError):
    """cannot copy {source} to {target}: {why}"""


class CopyUnproven(TracewatchError):
    """what was read back from {target} is not what {source} holds: {parts}. Somebody may be writing to it; the same
    command compares again and copies what is not there"""


class OutputLost(TracewatchError):
    """cannot write the output: {why}. What was asked has been done; only the text is incomplete"""


class OutputRefused(TracewatchError):
    """cannot write to {path}: {why}. Name another file"""


class BadArgument(TracewatchError):
    """cannot read the argument {given}: it is not UTF-8 text"""


class BadKey(TracewatchError):
    """cannot make this key: {why}"""


class AccessRefused(TracewatchError):
    """There is no way in"""

    status = 403


class KeyMissing(AccessRefused):
    """this server wants an API key: send it as Authorization: Bearer KEY, or as x-api-key"""

    status = 401


class KeyUnknown(AccessRefused):
    """this API key opens nothing: it is not one of this server, has expired or was revoked"""

    status = 401


class RightMissing(AccessRefused):
    """this API key has no right to {right}"""


class ProjectRefused(AccessRefused):
    """this API key is not one of the project '{given}'"""


class ForeignOrigin(AccessRefused):
    """this server has no API keys, so it answers only this machine under its own name, and '{given}' is another"""


class AddressNeedsKeys(TracewatchError):
    """on {host} other machines could reach this server, and there is no API key that would keep them out.
    Make one first: tracewatch keys create --db {db}"""


class AddressTaken(TracewatchError):
    """cannot listen on {host}:{port}: {why}. Choose another with --port"""


class BadOtlp(TracewatchError):
    """cannot read this as OTLP/{form}: {why}"""


class BodyRefused(TracewatchError):
    """cannot take this request"""

    status = 400
    reason = "body"


class BodyBroken(BodyRefused):
    """cannot read the body of this request: {why}"""


class BodyTooLarge(BodyRefused):
    """the body of this request has more than {mib} MiB, packed or unpacked: send less at a time
    (or let the server take more with TRACEWATCH_MAX_BODY_MB)"""

    status = 413
    reason = "too large"


class TooManySpans(BodyRefused):
    """this request holds more than {most:,} spans: send fewer at a time"""

    status = 413
    reason = "too large"


class BodyTooSlow(BodyRefused):
    """the body of this request did not come within {seconds} s"""

    status = 408
    reason = "too slow"


class EncodingUnknown(BodyRefused):
    """cannot unpack the content-encoding '{given}': send gzip, deflate or none"""

    status = 415
    reason = "content type"


class ContentTypeUnknown(BodyRefused):
    """cannot read the content-type '{given}': send application/x-protobuf or application/json"""

    status = 415
    reason = "content type"


class ServerFull(BodyRefused):
    """{mib} MiB of requests are waiting to be stored already: nothing of this one was kept, send it again later"""

    status = 429
    reason = "full"


class ProjectsFull(TracewatchError):
    """a project that is new, and the server has {most:,} already, as many as it takes from senders without a key
    (raise TRACEWATCH_MAX_PROJECTS, or send with the key of a project)"""


class DiskShort(BodyRefused):
    """the disk that holds the database has {free:,} MB left, and {reserve:,} MB stay free (TRACEWATCH_DISK_RESERVE_MB):
    nothing of this request was kept, send it again when there is room"""

    status = 503
    reason = "disk"


class StoringSlow(BodyRefused):
    """the database did not take this request within {seconds} s: send it again, what comes twice is kept once"""

    status = 503
    reason = "slow"


class BadDeed(TracewatchError):
    """cannot do this: {why}"""


class TooManyListeners(TracewatchError):
    """{most:,} streams of events are open already: close some, or ask again later"""


class NothingThere(TracewatchError):
    """there is nothing at {path}. What there is, /api/v1/openapi.json tells"""


class MethodRefused(TracewatchError):
    """{path} cannot be asked with {method}, only with {allowed}"""


class BadRequest(TracewatchError):
    """cannot read this request: {why}"""


class WentWrong(TracewatchError):
    """something went wrong in the server; its log says what"""


class FormForeign(AccessRefused):
    """this form does not come from a page of this server, or from one that is too old: load the page again"""


class UnsetVariable(TracewatchError):
    """the environment variable {name} is not set here, and the address of an alert channel names it.
    Set it for the process that sends: tracewatch serve or tracewatch watch"""


class UnknownChannel(TracewatchError):
    """cannot open {given} as a channel: {why}"""


class DeliveryRefused(TracewatchError):
    """{channel} does not take this message: {why}"""


class DeliveryFailed(TracewatchError):
    """{channel} could not be reached: {why}"""

    def __init__(self, *, retry_after_s: float | None = None, **given: object) -> None:
        super().__init__(**given)
        self.retry_after_s = retry_after_s
        """How long the receiver asks to be left alone; None where it does not say."""


class BadRules(TracewatchError):
    """cannot use these alert rules: {why}"""


class RulesChanged(TracewatchError):
    """the alert rules of project {project} were changed by somebody else at the same moment, so they stay as they are.
    Try again"""
