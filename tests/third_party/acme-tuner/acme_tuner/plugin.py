from tunesmith import AdapterMark, TunerSpec, hookimpl

from acme_tuner.options import ScaleOptions

TUNESMITH_API = (1, 0)

SCALE = TunerSpec(
    name="scale",
    load="acme_tuner.scale:ScaleTuner",
    summary="One learned factor for each output of chosen linear layers.",
    options=ScaleOptions,
    saves="adapter",
    marks=(AdapterMark("acme_scale.json", "kind", "scale"),),
    disables=True,
)


@hookimpl
def tunesmith_tuners():
    return [SCALE]
