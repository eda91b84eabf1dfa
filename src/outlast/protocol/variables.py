"""Bodies of the routes of environment variables, as the official clients know them."""

from pydantic import Field

from outlast.protocol.body import Body, Moment

REDACTED = "<redacted>"
"""What stands for a value that is not shown."""
VARIABLES_PATH = "/api/v1/projects/{ref}/envvars/{slug}"


class VariableBody(Body):
    """An environment variable; `value` is `<redacted>` for a secret one.

    `updatedBy` is the account or the key that wrote it last.
    """

    name: str
    value: str
    is_secret: bool
    created_at: Moment | None = None
    updated_at: Moment | None = None
    updated_by: str | None = None


class VariableCreate(Body):
    """`POST …/envvars/{env}`. Secret: the value is never shown again."""

    name: str
    value: str
    is_secret: bool = False


class VariableUpdate(Body):
    """`PUT …/envvars/{env}/{name}`. A secret stays one; `isSecret` makes another one secret."""

    value: str
    is_secret: bool = False


class VariableImport(Body):
    """`POST …/envvars/{env}/import`: all or none; without `override` every name must be new.

    `parentVariables` are for branches of an environment, of which there are none.
    """

    variables: dict[str, str] = Field(max_length=1000)
    override: bool = False
    is_secret: bool = False


class Success(Body):
    """What the official clients expect of a change."""

    success: bool = True


class VariableValues(Body):
    """`GET /api/outlast/v1/variables`: what a worker gives its processes; `secrets` are names."""

    revision: int
    variables: dict[str, str]
    secrets: tuple[str, ...] = ()
