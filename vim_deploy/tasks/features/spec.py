"""The facts about this task, see `vim_deploy.tasks.spec`."""

from __future__ import annotations

from vim_deploy.tasks.spec import TaskSpec

SPEC = TaskSpec(
    name="features",
    outputs=("features",),
    model_kinds=("classifier",),
    handler="vim_deploy.tasks.features.handler:FeatureHandler",
    module="vim_deploy.tasks.features.export:FeaturesModule",
    options="vim_deploy.tasks.features.options:FeatureOptions",
    result="vim_deploy.tasks.features.model_result:FeaturesResult",
    served="vim_deploy.tasks.features.served:SERVED",
    export_options="vim_deploy.tasks.features.options:FeatureExportOptions",
)
