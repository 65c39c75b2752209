"""Estimates of memory, on the echo plugin."""

import pytest

import tenon

GREEDY = {"memory_mb": 1_000_000_000}


def test_an_estimate_has_a_total_and_each_device(engine):
    estimate = engine.estimate("echo", sessions=2)
    assert (estimate.total, estimate.session, estimate.fits) == (2 * 12288, 12288, True)
    (device,) = estimate.devices
    assert (device.device, device.weights, device.cache, device.compute) == ("cpu", 0, 8192, 16384)
    assert (device.other, device.total, device.session, device.reclaimable) == (0, 24576, 12288, 0)
    assert device.fits and (device.available is None or device.available > device.reserve > 0)
    assert engine.estimate("echo", options={"memory_mb": 3}).total == 3_000_000 + 12288
    assert engine.estimate("echo", sessions=0).total == 0


def test_what_cannot_be_estimated_is_an_error(engine):
    with pytest.raises(tenon.NotFoundError, match='"ech"'):
        engine.estimate("ech")
    with pytest.raises(tenon.OptionsError, match="memory_gb"):
        engine.estimate("echo", options={"memory_gb": 3})
    with pytest.raises(ValueError, match="sessions is -1"):
        engine.estimate("echo", sessions=-1)


def test_a_model_that_does_not_fit_is_refused_with_the_numbers_unless_told_otherwise(engine, places):
    assert not engine.estimate("echo", options=GREEDY).fits
    with pytest.raises(tenon.TenonError, match="needs 1000000.0 GB of memory") as raised:
        engine.load("echo", options=GREEDY)
    assert raised.value.name == "TENON_E_OUT_OF_MEMORY"
    assert int(raised.value.details["needed"]) == 10**15 + 12288
    with tenon.Engine(**places, ignore_memory=True) as careless:
        careless.load("echo", options=GREEDY).close()
