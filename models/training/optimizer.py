"""The optimiser of both models: Muon for weight matrices, Adam for everything else.

Muon orthogonalises the momentum of a matrix before it takes a step, which needs about half the steps of Adam
on models of this size. Embeddings, biases and norms have no such structure and take Adam.
"""

import jax
import jax.numpy as jnp

MUON_MOMENTUM = 0.95
MUON_DECAY = 0.02
ADAM_MEAN, ADAM_SQUARE = 0.9, 0.99


def new_state(params):
    """Zero moments shaped like `params`, and the number of steps taken."""
    zeros = jax.tree.map(jnp.zeros_like, params)
    return {"mean": zeros, "square": zeros, "steps": jnp.float32(0)}


def orthogonalised(stack):
    """Nearest orthogonal matrices of a stack [n, rows <= columns, columns], by five Newton-Schulz rounds."""
    stack = stack / (jnp.sqrt((stack * stack).sum((1, 2), keepdims=True)) + 1e-7)
    for _ in range(5):
        gram = stack @ stack.transpose(0, 2, 1)
        stack = 3.4445 * stack + (-4.775 * gram + 2.0315 * (gram @ gram)) @ stack
    return stack


def updated(params, gradients, state, rate, is_matrix, adam_scale):
    """One step. `is_matrix[i]` says whether leaf i takes Muon; Adam's rate is `rate * adam_scale`."""
    leaves, tree = jax.tree.flatten(params)
    gradients = jax.tree.leaves(gradients)
    mean, square = jax.tree.leaves(state["mean"]), jax.tree.leaves(state["square"])
    steps = state["steps"] + 1
    norm = jnp.sqrt(sum((g * g).sum() for g in gradients))
    gradients = [g * jnp.minimum(1.0, 1.0 / norm) for g in gradients]
    by_shape = {}
    for i, gradient in enumerate(gradients):
        if is_matrix[i]:
            mean[i] = MUON_MOMENTUM * mean[i] + gradient
            ahead = gradient + MUON_MOMENTUM * mean[i]
            turned = ahead.shape[0] > ahead.shape[1]
            ahead = ahead.T if turned else ahead
            by_shape.setdefault(ahead.shape, []).append((i, turned, ahead))
        else:
            mean[i] = ADAM_MEAN * mean[i] + (1 - ADAM_MEAN) * gradient
            square[i] = ADAM_SQUARE * square[i] + (1 - ADAM_SQUARE) * gradient**2
            unbiased = mean[i] / (1 - ADAM_MEAN**steps)
            spread = jnp.sqrt(square[i] / (1 - ADAM_SQUARE**steps)) + 1e-8
            leaves[i] = leaves[i] - rate * adam_scale * unbiased / spread
    for shape, group in by_shape.items():
        steps_of_group = orthogonalised(jnp.stack([ahead for _, _, ahead in group])) * (0.2 * max(shape) ** 0.5)
        for step, (i, turned, _) in zip(steps_of_group, group):
            leaves[i] = leaves[i] * (1 - rate * MUON_DECAY) - rate * (step.T if turned else step)
    rebuilt = lambda values: jax.tree.unflatten(tree, values)
    return rebuilt(leaves), {"mean": rebuilt(mean), "square": rebuilt(square), "steps": steps}
