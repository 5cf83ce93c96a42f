from tunesmith import BackendSpec, hookimpl

TUNESMITH_API = (1, 0)

ACME = BackendSpec(
    name="acme",
    load="acme_backend.backend:AcmeBackend",
    summary="The cards of Acme (emulated).",
    probe="acme_backend.probe:probe",
    priority=-1,
    device="acme",
    visible_devices="ACME_VISIBLE_DEVICES",
    dtypes=("bfloat16", "float32"),
    attention=("sdpa", "eager"),
    process_group="acme-link",
)


@hookimpl
def tunesmith_backends():
    return [ACME]
