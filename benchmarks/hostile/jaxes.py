"""Programs that leave the skill by way of jax: callbacks, loops, custom calls, its own files and sockets."""

from benchmarks.hostile.program import Program, loaded, rewards, traced

_EXPRESSIONS = {
    "pure_callback": ("jax.pure_callback(print, n, n)", "Python in every step"),
    "io_callback": ("jax.experimental.io_callback(print, n, n)", "Python in every step"),
    "debug.print": ("jax.debug.print('{}', n)", "prints in every step"),
    "debug.callback": ("jax.debug.callback(print, n)", "Python in every step"),
    "debug.breakpoint": ("jax.debug.breakpoint()", "waits for ever"),
    "experimental": ("jax.experimental.enable_x64()", "another jax"),
    "ffi": ("jax.ffi.ffi_call('x', n)(n)", "a function of C"),
    "config": ("jax.config.update('jax_enable_x64', True)", "another jax for everybody"),
    "custom_jvp": ("jax.custom_jvp(print)(n)", "a function hidden in a derivative"),
    "while_loop": ("jax.lax.while_loop(lambda x: True, lambda x: x, n)", "never ends"),
    "scan": ("jax.lax.scan(lambda c, x: (c, x), n, None, 10**9)[0]", "ends in a week"),
    "fori_loop": ("jax.lax.fori_loop(0, 10**9, lambda i, x: x, n)", "ends in an hour"),
    "lax.map": ("jax.lax.map(print, closest_blocks)", "a loop"),
    "lax.cond": ("jax.lax.cond(n > 3, print, print, n)", "functions handed over"),
    "jit": ("jax.jit(print)(n)", "a function handed over"),
    "vmap": ("jax.vmap(print)(n)", "a function handed over"),
    "grad": ("jax.grad(print)(n)", "a function handed over"),
    "jnp.vectorize": ("jnp.vectorize(print)(n)", "a function handed over"),
    "jnp.frompyfunc": ("jnp.frompyfunc(print, 1, 1)(n)", "a function handed over"),
    "jnp.apply_along_axis": ("jnp.apply_along_axis(print, 0, n)", "a function handed over"),
    "jnp.apply_over_axes": ("jnp.apply_over_axes(print, n, 0)", "a function handed over"),
    "jnp.fromfunction": ("jnp.fromfunction(print, (3,))", "a function handed over"),
    "jnp.piecewise": ("jnp.piecewise(n, [n > 3], [print])", "a function handed over"),
    "at apply": ("closest_blocks.at[0].apply(print)", "a function handed over"),
    "jnp.fromfile": ("jnp.fromfile('@SECRET@')", "reads a file"),
    "jnp.savez": ("jnp.savez('@FOLDER@/x.npz', n)", "writes a file"),
    "jnp.printoptions": ("jnp.printoptions(9)", "numpy's settings for everybody"),
    "dumped array": ("jnp.ones(3).dump('@FOLDER@/x')", "writes a pickle"),
    "block_until_ready": ("n.block_until_ready()", "waits for the device"),
    "device": ("n.device", "the device"),
    "devices": ("jax.devices()[0].client", "the device's client"),
    "shards": ("n.addressable_shards", "the array's buffers"),
    "pointer": ("n.unsafe_buffer_pointer()", "an address"),
    "item": ("n.item()", "the value of what is traced"),
    "tolist": ("n.tolist()", "the values of what is traced"),
    "view": ("n.view('f4')", "other types"),
    "constant from the host": ("jnp.asarray(memoryview(b'x'))", "the host's memory"),
    "dlpack": ("jnp.from_dlpack(n)", "another's memory"),
    "profiler": ("jax.profiler.start_server(9)", "a server"),
    "profiler's trace": ("jax.profiler.start_trace('@FOLDER@')", "writes files"),
    "cache elsewhere": ("jax.config.jax_compilation_cache_dir", "where programs are kept"),
    "distributed": ("jax.distributed.initialize('127.0.0.1:@PORT@', 2, 0)", "connects out"),
    "jax.random": ("jax.random.normal(jax.random.key(0))", "another number for each program"),
    "jnp.linalg.svd": ("jnp.linalg.svd(closest_blocks)", "a call into LAPACK"),
    "jnp.linalg.inv": ("jnp.linalg.inv(closest_blocks[:, :, 0])", "a call into LAPACK"),
    "jnp.fft": ("jnp.fft.fft(n)", "complex numbers"),
    "scipy": ("jax.scipy.special.gamma(n)", "what else jax has"),
    "nn": ("jax.nn.relu(n)", "what else jax has"),
    "tree_util": ("jax.tree_util.register_pytree_node(int, print, print)", "changes jax for everybody"),
    "private jax": ("jax._src.core", "jax's own modules"),
    "interpreters": ("jax.interpreters.mlir.register_lowering(print, print)", "changes jax for everybody"),
    "extend": ("jax.extend.core.Primitive('x')", "an operation of its own"),
    "export": ("jax.export.deserialize(b'x')", "an artefact of its own"),
    "ufunc's at": ("jnp.add.at(n, 0, 1)", "a method of a function"),
    "ufunc's reduce": ("jnp.add.reduce(n)", "a method of a function"),
    "shape of another": ("jax.eval_shape(print, n)", "a function handed over"),
    "nonzero": ("jnp.nonzero(n)[0]", "a shape that depends on the data"),
    "unique": ("jnp.unique(n)", "a shape that depends on the data"),
    "boolean mask and more": ("n[jnp.array(n > 3)].save", "a shape that depends on the data"),
    "searchsorted": ("jnp.searchsorted(closest_blocks[0, 0], n)", "a loop within"),
    "polyfit": ("jnp.polyfit(n, n, 1)", "a call into LAPACK"),
    "setflags": ("closest_blocks.setflags(write=True)", "a method of numpy"),
    "ctypes of an array": ("closest_blocks.ctypes", "an address"),
}

_BELOW = {
    "a callback in every step": (
        traced("jax.pure_callback(lambda x: x, n, n)\nn = n + jax.pure_callback(lambda x: x, n, n)"),
        ("trace", "uses the operation"),
    ),
    "a callback with effects": (
        traced("from jax.experimental import io_callback\nio_callback(lambda x: open('@FOLDER@/x', 'w'), None, n)"),
        ("trace", "uses the operation"),
    ),
    "a print in every step": (traced("jax.debug.print('{}', n)"), ("trace", "uses the operation")),
    "an endless loop of jax": (
        traced("n = jax.lax.while_loop(lambda x: x >= 0, lambda x: x, n)"),
        ("trace", "uses the operation"),
    ),
    "a long scan": (
        traced("n = jax.lax.scan(lambda c, _: (c, None), n, None, 10**9)[0]"),
        ("trace", "uses the operation"),
    ),
    "a callback behind a cond": (
        traced("n = jax.lax.cond(n > 99, lambda x: jax.pure_callback(lambda y: y, x, x), lambda x: x, n)"),
        ("trace", "uses the operation"),
    ),
    "a callback behind a jit": (
        traced("n = jax.jit(lambda x: jax.pure_callback(lambda y: y, x, x))(n)"),
        ("trace", "uses the operation"),
    ),
    "a callback in a derivative": (
        traced(
            "f = jax.custom_jvp(lambda x: jax.pure_callback(lambda y: y, x, x))\n"
            "f.defjvp(lambda p, t: (p[0], t[0]))\nn = f(n)"
        ),
        ("trace", "uses the operation"),
    ),
    "a call into C": (traced("n = jax.ffi.ffi_call('flowrl_canary', n)(n)"), ("trace", "ffi|operation")),
    "random numbers": (
        traced("n = n + jax.random.randint(jax.random.key(0), (), 0, 2)"),
        ("trace", "uses the operation"),
    ),
    "a call into LAPACK": (
        traced("n = n + jnp.linalg.det(jnp.eye(9) * n).astype(int)"),
        ("trace", "uses the operation"),
    ),
    "64 bits": (traced("jax.config.update('jax_enable_x64', True)\nn = n * 1.5"), ("any", "")),
    "another jax for the checks": (
        loaded(
            "import numpy as np\nnp.isfinite = lambda x: np.ones(np.shape(x), bool)\n"
            "jnp.isfinite = np.isfinite\nnp.all = lambda *a, **k: True"
        ),
        ("any", ""),
    ),
    "another reward for each call": (
        loaded("seen = []\n\n\ndef gathered(*a):\n    seen.append(1)\n    return 1.0 * len(seen)"),
        ("any", ""),
    ),
}

JAXES = (
    Program("function as a value", rewards("jnp.where(n > 3, jnp.where, n)"), "a function for a number", "trace"),
    Program("module within a module", rewards("jnp.linalg.jnp.save * n"), "what a module imported", "allow-list"),
    Program("loader of a module", rewards("jnp.linalg.__loader__.get_data * n"), "reads files", "allow-list"),
    *(
        Program(name, rewards(f"{code} * 1.0", "inventory, closest_blocks, n"), why, "allow-list")
        for name, (code, why) in _EXPRESSIONS.items()
    ),
    *(
        Program(name, code, name, "allow-list", below=below, below_says=says)
        for name, (code, (below, says)) in _BELOW.items()
    ),
)
"""What the allow-list of names keeps out, and what the allow-list of operations must see without it."""
