"""`@observe` changes nothing about a function but that its calls are spans."""

import asyncio
import functools
import inspect

import pytest

import tracewatch
from tracewatch import observe


@observe
def plain(a, b=2):
    """Adds."""
    return a + b


@observe("named", usage_type="extraction", team="mail")
def named():
    return tracewatch.current().span_id


@observe()
async def coroutine(question):
    await asyncio.sleep(0)
    return question, tracewatch.current().span_id


@observe
def generator(count):
    got = []
    for number in range(count):
        with tracewatch.span(f"item {number}"):
            got.append((yield number))
    return got


@observe(operation_type="agent")
async def async_generator(count):
    for number in range(count):
        async with tracewatch.span(f"item {number}"):
            await asyncio.sleep(0)
            yield number


class Service:
    @observe
    def method(self):
        return self

    @observe
    @staticmethod
    def static():
        return "static"

    @observe
    @classmethod
    def of_class(cls):
        return cls

    @observe
    async def async_method(self):
        return self

    def __call__(self):
        return tracewatch.current()


def test_functions_stay_what_they_are():
    assert (plain.__name__, plain.__doc__) == ("plain", "Adds.")
    assert list(inspect.signature(plain).parameters) == ["a", "b"]
    assert inspect.iscoroutinefunction(coroutine)
    assert inspect.isgeneratorfunction(generator)
    assert inspect.isasyncgenfunction(async_generator)
    assert inspect.iscoroutinefunction(Service.async_method)


def test_every_call_is_a_span_below_the_current_one(recorded):
    with tracewatch.trace("ask") as ask:
        assert plain(1) == 3
        named()
    row = recorded.row(span_name="plain")
    assert (row.trace_id, row.parent_span_id) == (ask.trace_id, ask.span_id)
    row = recorded.row(span_name="named")
    assert (row.usage_type, row.metadata) == ("extraction", {"team": "mail"})


def test_methods(recorded):
    service = Service()
    assert service.method() is service
    assert Service.static() == service.static() == "static"
    assert Service.of_class() is Service
    assert asyncio.run(service.async_method()) is service
    assert {each.span_name for each in recorded.rows()} == {
        "Service.method",
        "Service.static",
        "Service.of_class",
        "Service.async_method",
    }


def test_partial_functions_and_objects_that_can_be_called(recorded):
    assert observe(functools.partial(pow, 2))(3) == 8
    assert asyncio.run(observe(functools.partial(coroutine, "q"))())[0] == "q"
    assert observe(Service())().fields["span_name"] == "Service"


def test_coroutines_keep_their_own_span(recorded):
    async def main():
        return await asyncio.gather(*(coroutine(number) for number in range(5)))

    found = asyncio.run(main())
    assert [number for number, _ in found] == list(range(5))
    assert {span_id for _, span_id in found} == {each.span_id for each in recorded.rows()}


def test_exceptions_reach_the_caller(recorded):
    @observe
    def fails():
        raise ConnectionRefusedError("nobody there")

    @observe
    async def fails_later():
        await asyncio.sleep(0)
        raise TimeoutError("late")

    @observe
    def fails_between():
        yield 1
        raise ValueError("odd")

    with pytest.raises(ConnectionRefusedError):
        fails()
    with pytest.raises(TimeoutError):
        asyncio.run(fails_later())
    items = fails_between()
    assert next(items) == 1
    with pytest.raises(ValueError, match="odd"):
        next(items)
    assert [(each.status, each.error_category) for each in recorded.rows()] == [
        ("error", "connection"),
        ("timeout", "timeout"),
        ("error", "unknown"),
    ]


def test_a_cancelled_task_is_an_error_of_that_category(recorded):
    started = asyncio.Event()

    @observe
    async def waits():
        started.set()
        await asyncio.Event().wait()

    async def main():
        task = asyncio.create_task(waits())
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert (recorded.row().status, recorded.row().error_category) == ("error", "cancelled")


def test_generators_are_current_only_while_they_run(recorded):
    with tracewatch.trace("ask") as ask:
        items = generator(2)
        assert next(items) == 0
        assert tracewatch.current() is ask
        assert items.send("a") == 1
        with pytest.raises(StopIteration) as stop:
            items.send("b")
        assert stop.value.value == ["a", "b"]
        assert tracewatch.current() is ask
    row = recorded.row(span_name="generator")
    assert row.parent_span_id == ask.span_id
    assert recorded.row(span_name="item 1").parent_span_id == row.span_id


def test_what_is_thrown_into_a_generator_arrives(recorded):
    @observe
    def counts():
        try:
            yield 1
        except KeyError:
            yield 2

    items = counts()
    next(items)
    assert items.throw(KeyError) == 2
    assert list(items) == []
    assert recorded.row().status == "ok"


def test_an_abandoned_generator_is_recorded(recorded):
    items = generator(9)
    next(items)
    items.close()
    row = recorded.row(span_name="generator")
    assert (row.status, row.warning_flags) == ("ok", ("abandoned",))


def test_a_generator_that_nobody_asks_leaves_no_span(recorded):
    generator(3).close()
    assert recorded.rows() == []


def test_async_generators(recorded):
    async def main():
        async with tracewatch.trace("ask") as ask:
            found = []
            async for item in async_generator(3):
                assert tracewatch.current() is ask
                found.append(item)
            items = async_generator(3)
            await anext(items)
            await items.aclose()
            return found

    assert asyncio.run(main()) == [0, 1, 2]
    whole, abandoned = recorded.rows(span_name="async_generator")
    assert (whole.operation_type, whole.warning_flags) == ("agent", None)
    assert abandoned.warning_flags == ("abandoned",)
    assert len(recorded.rows(parent_span_id=whole.span_id)) == 3


def test_async_generators_take_what_is_sent_and_thrown(recorded):
    @observe
    async def echoes():
        said = None
        while said != "stop":
            try:
                said = yield said
            except ValueError as error:
                said = str(error)

    async def main():
        items = echoes()
        assert await anext(items) is None
        assert await items.asend("a") == "a"
        assert await items.athrow(ValueError("b")) == "b"
        with pytest.raises(StopAsyncIteration):
            await items.asend("stop")

    asyncio.run(main())
    assert recorded.row().status == "ok"
