from tunesmith import hookimpl
from tunesmith.templates import templates_in

TUNESMITH_API = (1, 0)


@hookimpl
def tunesmith_templates():
    return templates_in("acme_template")
