"""The isolations of this machine."""

import pytest

from rewards.sandbox import choice

available = [name for name in ("bubblewrap", "landlock") if choice.describe(name).isolation]


@pytest.fixture(scope="module", params=available or [pytest.param("none", marks=pytest.mark.skip("no isolation here"))])
def isolation(request):
    return request.param
