"""Pages in byte order, whichever order the service has."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

from hypothesis import given
from hypothesis import strategies as st

from services.objects.azure_blob.ordering import in_byte_order, start_of
from services.objects.port import ObjectInfo

NAMES = st.lists(
    st.text(alphabet=["a", "b", "/", "\u4e00", "\uff71", "\uffe5", "\U0001f600"], max_size=4),
    unique=True, max_size=25,
)  # fmt: skip
ORDERS: tuple[Callable[[str], bytes], ...] = (
    lambda name: name.encode(), lambda name: name.encode("utf-16-be")
)  # fmt: skip


@given(NAMES, st.sampled_from(ORDERS), st.data())
async def test_any_order_any_position(
    names: list[str], order: Callable[[str], bytes], data: st.DataObject
) -> None:
    after = data.draw(st.sampled_from(["", *names]))
    start = start_of(after)

    async def listed() -> AsyncGenerator[ObjectInfo, None]:
        for name in sorted(names, key=order):
            if order(name) >= order(start):
                yield ObjectInfo(name, 0, "", "", 0.0)

    found = [info.key async for info in in_byte_order(listed())]
    wanted = sorted(names, key=lambda name: name.encode())
    assert [name for name in found if name.encode() > after.encode()] == [
        name for name in wanted if name.encode() > after.encode()
    ]
