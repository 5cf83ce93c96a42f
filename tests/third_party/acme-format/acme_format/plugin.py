from tunesmith import FormatSpec, hookimpl

TUNESMITH_API = (1, 0)

TRANSCRIPT = FormatSpec(
    name="transcript",
    load="acme_format.transcript:Transcript",
    summary="Help desk transcripts; the customer's lines begin with a mark.",
    yields=("conversation", "prompt"),
    columns={"talk": "talk"},
    tags={"customer": "> "},
    required={"conversation": ("talk",), "prompt": ("talk",)},
)


@hookimpl
def tunesmith_formats():
    return [TRANSCRIPT]
