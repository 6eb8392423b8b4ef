"""Train one model with one seed."""

import contextlib
import json
from pathlib import Path

from denoise.core import files
from denoise.core.settings import digest
from denoise.mixing.augmentation import AugmentationSettings
from denoise.networks.card import ModelCard, ModelFolder
from denoise.study import paths
from denoise.study.jobs import job
from denoise.tracking.live import live
from denoise.tracking.store import RunName, Store
from denoise.training.devices import all_gpus, one_gpu
from denoise.training.fit import TrainingData, train
from denoise.training.settings import TrainingSettings

# The processes that training starts import this file again.
if __name__ == "__main__":
    with job(snakemake), contextlib.ExitStack() as held:
        card = ModelCard.model_validate_json(snakemake.params.settings)
        workers = json.loads(str(snakemake.params.workers))
        adversarial = {**card.training["adversarial"], **workers.pop("adversarial")}
        settings = TrainingSettings.model_validate(
            {**card.training, **workers, "adversarial": adversarial}
        )
        bound = all_gpus if settings.devices == "all" else one_gpu
        held.enter_context(bound(paths.GPU_LOCKS))
        start = Path(snakemake.input.start[0]) if snakemake.input.start else None
        teacher = Path(snakemake.input.teacher[0]) if snakemake.input.teacher else None
        data = TrainingData(
            Path(snakemake.input.train),
            Path(snakemake.input.validation),
            start,
            teacher.parent if teacher is not None else None,
        )
        known = {
            part: digest(getattr(data, part).read_text(), 16) for part in ("train", "validation")
        }
        if start is not None:
            known["start"] = files.file_digest(start)
        if teacher is not None:
            known["teacher"] = files.file_digest(teacher)
        # A checkpoint of other code is not continued, and a run of other code is another run.
        scales = {side: tuple(two) for side, two in files.read_made(data.train)["scales"].items()}
        card = card.model_copy(
            update={"code": snakemake.params.code, "data": known, "scales": scales}
        )
        called = snakemake.params
        run = RunName(snakemake.config["experiment"], str(called.variant), str(called.label))
        with live(Store.of_marker(Path(snakemake.input.store)), run, card) as on_epoch:
            train(
                card,
                settings,
                data,
                ModelFolder(Path(snakemake.output.model).parent),
                augmentation=AugmentationSettings.model_validate(card.augmentation),
                on_epoch=on_epoch,
            )
