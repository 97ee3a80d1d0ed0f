"""Temporal's external storage: the same payloads through its own driver, over a dict, and through ours."""

import asyncio
import dataclasses
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from fsmedia import CorruptMediaError, InvalidReferenceError, MediaNotFoundError
from tests.frameworks import ITS_OWN_WARNINGS, need

need("temporal", "temporalio.converter")

from temporalio.api.common.v1 import Payload
from temporalio.contrib.aws.s3driver import S3StorageDriver, S3StorageDriverClient
from temporalio.converter import (
    DataConverter,
    ExternalStorage,
    StorageDriverActivityInfo,
    StorageDriverClaim,
    StorageDriverRetrieveContext,
    StorageDriverStoreContext,
    StorageDriverWorkflowInfo,
)

from fsmedia.exchange.frameworks.temporal import FsmediaStorageDriver

pytestmark = ITS_OWN_WARNINGS
ROOTS = count()
READING = StorageDriverRetrieveContext()
PAYLOADS = [
    Payload(), Payload(data=b"x"), Payload(metadata={"encoding": b"binary/plain"}, data=bytes(range(256)) * 400),
    Payload(metadata={"encoding": b"json/plain", "a": b"1", "b": b"2"}, data=b'{"x": 1}'),
]  # fmt: skip
HOSTILE = ["w1", "", "..", "../x", "a/b", ".fsmedia", "x.meta", "a::b", "ü 名", "a\0b", "l" * 500]
TARGETS = [
    None,
    *(StorageDriverWorkflowInfo(namespace=name, id=name, run_id=name or None, type="T") for name in HOSTILE),
    *(StorageDriverActivityInfo(namespace="default", id=name) for name in HOSTILE),
]


class InDict(S3StorageDriverClient):
    """The least client that Temporal's own driver takes."""

    def __init__(self):
        self.objects = {}

    async def put_object(self, *, bucket, key, data):
        self.objects[key] = data

    async def object_exists(self, *, bucket, key):
        return key in self.objects

    async def get_object(self, *, bucket, key):
        return self.objects[key]


def ours(**settings):
    return FsmediaStorageDriver(f"memory://temporal-{next(ROOTS)}", **settings)


def media(driver):
    return list(driver.store_of_payloads.list())


def test_every_payload_of_everybody_comes_back_alike():
    async def check():
        client = InDict()
        mine, theirs = ours(), S3StorageDriver(client, "bucket")
        for target in TARGETS:
            context = StorageDriverStoreContext(target=target)
            for driver in (theirs, mine, mine):
                claims = await driver.store(context, PAYLOADS)
                assert await driver.retrieve(READING, claims[::-1]) == PAYLOADS[::-1]
                assert all(isinstance(value, str) for claim in claims for value in claim.claim_data.values())
        # Nobody, and one without any name, are the same; Temporal's own tells no names apart that are too long.
        assert len(PAYLOADS) * (len(TARGETS) - 1) == len(media(mine))
        assert await mine.store(StorageDriverStoreContext(), []) == await mine.retrieve(READING, []) == []
        assert mine.store_of_payloads.verify(deep=True).whole

    asyncio.run(check())


def test_many_who_store_one_payload_at_once_have_one_media(tmp_path):
    async def check(place):
        drivers = [FsmediaStorageDriver(place) for _ in range(3)]
        context = StorageDriverStoreContext(target=TARGETS[1])
        claims = await asyncio.gather(*(drivers[number % 3].store(context, PAYLOADS[2:]) for number in range(9)))
        assert all(claim == claims[0] for claim in claims)
        assert len(media(drivers[0])) == 2

    asyncio.run(check(f"memory://temporal-{next(ROOTS)}"))
    asyncio.run(check(str(tmp_path / "store")))


def test_a_claim_reads_payloads_alone_and_what_it_says():
    async def check():
        driver = ours()
        (claim,) = await driver.store(StorageDriverStoreContext(), PAYLOADS[2:3])
        driver.store_of_payloads.fs.pipe_file("runs/r1/secret.txt", b"x")
        reference = claim.claim_data["reference"]
        for said, error in {
            "runs/r1/secret.txt": InvalidReferenceError,
            "temporal/../runs/r1/secret.txt": InvalidReferenceError,
            "": InvalidReferenceError,
            f"{reference}0": MediaNotFoundError,
        }.items():
            with pytest.raises(error):
                await driver.retrieve(READING, [StorageDriverClaim({**claim.claim_data, "reference": said})])
        for digest in ("0" * 64, ""):
            with pytest.raises(CorruptMediaError):
                await driver.retrieve(READING, [StorageDriverClaim({"reference": reference, "sha256": digest})])

    asyncio.run(check())


def test_what_a_policy_let_go_is_an_error_as_of_temporals_own_driver():
    async def check():
        now = [datetime(2026, 3, 4, tzinfo=UTC)]
        mine, theirs = (
            ours(default_policy="delete-after-5min", now=lambda: now[0]),
            S3StorageDriver(client := InDict(), "b"),
        )
        claims = [await each.store(StorageDriverStoreContext(), PAYLOADS[:1]) for each in (theirs, mine)]
        client.objects.clear()
        now[0] += timedelta(minutes=6)
        mine.store_of_payloads.enforce_policy(now=now[0])
        with pytest.raises(RuntimeError):
            await theirs.retrieve(READING, claims[0])
        with pytest.raises(MediaNotFoundError):
            await mine.retrieve(READING, claims[1])

    asyncio.run(check())


def test_values_of_a_workflow_go_through_its_converter():
    """What a workflow's arguments and results go through; a server is not needed for it."""

    async def check():
        driver = ours()
        storage = ExternalStorage(drivers=[driver], payload_size_threshold=1000)
        converter = dataclasses.replace(DataConverter.default, external_storage=storage)
        values = ["small", b"x" * 5000, {"large": "y" * 5000}, None]
        payloads = await converter.encode(values)
        assert max(payload.ByteSize() for payload in payloads) < 1000
        assert await converter.decode(payloads) == values
        assert len(media(driver)) == 2
        info = driver.store_of_payloads.info(media(driver)[0])
        assert (info.mime_type, info.detected_mime_type) == ("application/x-protobuf", None)

    asyncio.run(check())
