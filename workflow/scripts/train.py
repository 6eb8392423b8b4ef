"""Train one variant with one seed."""

import json
from pathlib import Path

from denoise.core import files
from denoise.core.settings import digest
from denoise.mixing.augmentation import AugmentationSettings
from denoise.networks.registry import network_settings
from denoise.study.jobs import job
from denoise.tracking.live import live
from denoise.training.devices import all_gpus, one_gpu
from denoise.training.fit import train
from denoise.training.settings import TrainingSettings

# The processes that training starts import this file again.
if __name__ == "__main__":
    card = json.loads(snakemake.params.settings)
    bound = all_gpus if card["training"]["devices"] == "all" else one_gpu
    with job(snakemake), bound(Path("results/locks")):
        caches = {part: Path(snakemake.input[part]).parent for part in ("train", "validation")}
        # A checkpoint of other code is not continued, and a run of other code is another run.
        card["code"] = snakemake.params.code
        card["data"] = {
            part: digest(Path(snakemake.input[part]).read_text(), 16) for part in caches
        }
        if snakemake.input.get("start"):
            card["data"]["start"] = files.file_digest(Path(snakemake.input.start[0]))
        card["scales"] = files.read_json(snakemake.input.train)["scales"]
        name = snakemake.config["run_names"][f"{card['variant']}-seed{card['seed']}"]
        with live(snakemake.config["experiment"], card, name) as on_epoch:
            train(
                caches,
                network_settings(card["network"]),
                TrainingSettings.model_validate(card["training"]),
                card["seed"],
                Path(snakemake.output.model).parent,
                card,
                augmentation=AugmentationSettings.model_validate(card["augmentation"]),
                start=Path(snakemake.input.start[0]) if snakemake.input.get("start") else None,
                on_epoch=on_epoch,
            )
