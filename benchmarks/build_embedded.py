"""Rebuild the embedded default: composites of handwritten digits with masks, and the CNN trained on such composites.

    python benchmarks/build_embedded.py            # writes sycam/embedded/images and sycam/embedded/weights.safetensors

An image is one of scikit-learn's `load_digits` scans (8×8, handwritten), scaled up bicubically to 22 to 34 pixels,
turned a little and placed anywhere in a 64×64 frame, in a random ink on a textured ground, over distracting strokes and
cut-off pieces of other scans. Its mask is the digit's own ink, where opacity exceeds one half.

The scans are split three ways by class before anything is drawn: those that the CNN trains on, those that measure its
accuracy, those of the shipped images. A composite takes its pieces of other scans from its own split too.

Most training images are plain composites. One in five is multiplied, after normalisation, by a smooth heatmap, because
saliency metrics show the CNN images masked that way: its answers there would otherwise be accidents of extrapolation.
Where the heatmap hides the ink, the target fades towards the uniform distribution. Targets are smoothed, so that
probabilities stay off 1 and metrics such as the average gain, (o − p)₊ / (1 − p), keep their meaning.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from sycam.embedded.network import CLASSES, MEAN, SIZE, STD, WEIGHTS, DigitVGG, build

LEAST_ACCURACY = 0.97
SMOOTHING = 0.08  # of the training targets
SHIPPED_PER_CLASS, HELD_OUT_PER_CLASS = 24, 30  # scans kept from training
STROKES = 2048  # distinct distracting strokes, drawn once
CANDIDATES = 9  # strokes considered per composite, those that cover the digit least are kept
STEPS = 2400
RATE = 4e-3  # peak of the one-cycle learning rate
BATCH = 64
MASKED = BATCH // 5  # of a batch, seen through a heatmap
LEVELS = 63  # of a colour channel: 6 bits, so that a textured PNG stays small


@dataclass(frozen=True)
class Scans:
    """One split of the handwritten scans."""

    ink: Tensor  # [N, 8, 8] in [0, 1]
    labels: Tensor  # [N]


def split_scans(generator: torch.Generator) -> tuple[Scans, Scans, Scans]:
    """`load_digits`, split by class into training, held-out and shipped scans."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        sys.exit("build_embedded.py needs scikit-learn: pip install 'sycam[dev]'")
    digits = load_digits()
    ink = torch.from_numpy(digits.images).float() / 16
    labels = torch.from_numpy(digits.target).long()
    parts: tuple[list[Tensor], list[Tensor], list[Tensor]] = ([], [], [])
    for label in range(len(CLASSES)):
        members = torch.nonzero(labels == label).flatten()
        members = members[torch.randperm(len(members), generator=generator)]
        sizes = [len(members) - SHIPPED_PER_CLASS - HELD_OUT_PER_CLASS, HELD_OUT_PER_CLASS, SHIPPED_PER_CLASS]
        for part, chunk in zip(parts, members.split(sizes), strict=True):
            part.append(chunk)
    training, held_out, shipped = (Scans(ink[torch.cat(p)], labels[torch.cat(p)]) for p in parts)
    return training, held_out, shipped


def pixel_centres(size: int = SIZE) -> tuple[Tensor, Tensor]:
    """Columns and rows of the pixel centres, [size, size] each."""
    centre = torch.arange(size) + 0.5
    rows, columns = torch.meshgrid(centre, centre, indexing="ij")
    return columns, rows


def draw_strokes(count: int, generator: torch.Generator) -> Tensor:
    """Opacities of `count` single strokes, [count, 64, 64] uint8: cubic Bézier curves as thick as a digit's ink.

    A third is straight. Straight ones that stand upright are kept short: a long one would be a handwritten 1.
    """

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator) * (high - low) + low

    start = uniform(-6, SIZE + 6, count, 2)
    angle, length = uniform(0, 2 * math.pi, count), uniform(9, 34, count)
    straight = uniform(0, 1, count) < 0.33
    upright = angle.cos().abs() < 0.5
    length = torch.where(straight & upright, length.clamp(max=13), length)
    along = torch.stack((angle.cos(), angle.sin()), 1) * length[:, None]
    across = torch.stack((-along[:, 1], along[:, 0]), 1)
    bend = uniform(-0.75, 0.75, count, 2) * ~straight[:, None]
    first, second = start + along / 3 + across * bend[:, :1], start + along * 2 / 3 + across * bend[:, 1:]
    t = torch.linspace(0, 1, 40)[None, :, None]
    curve = (
        (1 - t) ** 3 * start[:, None]
        + 3 * t * (1 - t) ** 2 * first[:, None]
        + 3 * t**2 * (1 - t) * second[:, None]
        + t**3 * (start + along)[:, None]
    )  # [count, 40, 2]
    radius = uniform(0.9, 2.3, count)[:, None, None]
    columns, rows = pixel_centres()
    pixels = torch.stack((columns, rows), 2).flatten(0, 1)  # [4096, 2]
    strokes = []
    for points, thick in zip(curve.split(128), radius.split(128), strict=True):
        distance = torch.cdist(pixels.expand(len(points), -1, -1), points).amin(2).unflatten(1, (SIZE, SIZE))
        strokes.append(((thick - distance + 0.5).clamp(0, 1) * 255).to(torch.uint8))
    return torch.cat(strokes)


class Composer:
    """Draws composites of one split of scans."""

    def __init__(self, scans: Scans, strokes: Tensor, generator: torch.Generator, size: int = SIZE) -> None:
        self.scans, self.strokes, self.generator = scans, strokes[:, :size, :size], generator
        self.size = size
        self.columns, self.rows = pixel_centres(size)

    def draw(self, scan: Tensor) -> tuple[Tensor, Tensor]:  # [B] -> [B, 3, 64, 64], [B, 64, 64]
        """Composites of the numbered scans, in [0, 1], with their masks, bool."""
        batch = len(scan)
        side = self.uniform(22, 34, batch)
        edge = self.uniform(0, 1, batch, 2)
        edge = (1 - (math.pi * edge).cos()) / 2  # more often near the frame's edges than at its centre
        centre = edge * (self.size - side[:, None]) + side[:, None] / 2
        turn = self.uniform(-0.2, 0.2, batch)
        slant, stretch = self.uniform(-0.15, 0.15, batch), self.uniform(0.85, 1.1, batch)
        digit = self.place(self.scans.ink[scan], side, centre, turn, slant, stretch)

        base, ground = self.ground(batch)
        near = F.max_pool2d(digit[:, None], 5, 1, 2)[:, 0]
        layers = [*self.distractors(near), *self.pieces(near)]
        image = ground
        for opacity in layers:
            image = self.paint(image, opacity, self.contrasting(base, 0.25))
        image = self.paint(image, digit, self.contrasting(base, 0.38))
        image = image + 0.025 * self.normal(batch, 1, self.size, self.size)
        return (image.clamp(0, 1) * LEVELS).round() / LEVELS, digit > 0.5

    def place(self, ink: Tensor, side: Tensor, centre: Tensor, turn: Tensor, slant: Tensor, stretch: Tensor) -> Tensor:
        """Opacity [B, 64, 64] of 8×8 scans, `side` pixels high, `stretch` times as wide, slanted and turned."""
        right = (self.columns - centre[:, 0, None, None]) * 2 / side[:, None, None]
        down = (self.rows - centre[:, 1, None, None]) * 2 / side[:, None, None]
        cos, sin = turn.cos()[:, None, None], turn.sin()[:, None, None]
        across, along = cos * right + sin * down, cos * down - sin * right
        grid = torch.stack(((across + slant[:, None, None] * along) / stretch[:, None, None], along), 3)
        value = F.grid_sample(ink[:, None], grid, mode="bicubic", padding_mode="zeros", align_corners=False)[:, 0]
        return ((value - self.uniform(0.36, 0.48, len(ink), 1, 1)) / 0.3 + 0.5).clamp(0, 1)

    def ground(self, batch: int) -> tuple[Tensor, Tensor]:
        """A base colour [B, 3, 1, 1] and a textured ground of about that colour [B, 3, 64, 64]."""
        grey = self.uniform(0.15, 0.85, batch, 1, 1, 1)
        base = (grey + 0.16 * self.normal(batch, 3, 1, 1)).clamp(0.05, 0.95)
        drift = 0.09 * self.smooth(batch, 3, 4) + 0.06 * self.smooth(batch, 1, 9)
        grain = self.smooth(batch, 1, 28) * self.uniform(0.01, 0.05, batch, 1, 1, 1)
        return base, base + drift + grain

    def distractors(self, near: Tensor) -> list[Tensor]:
        """Opacities of three to six strokes a composite that leave the digit's surroundings mostly free."""
        batch = len(near)
        chosen = torch.randint(len(self.strokes), (batch, CANDIDATES), generator=self.generator)
        opacity = self.strokes[chosen].float() / 255  # [B, CANDIDATES, 64, 64]
        overlap = torch.einsum("bshw,bhw->bs", opacity, near) / opacity.sum((2, 3)).clamp(min=1)
        best = (overlap + 0.1 * self.uniform(0, 1, batch, CANDIDATES)).argsort(1)[:, :6]
        opacity = opacity.gather(1, best[:, :, None, None].expand(-1, -1, self.size, self.size))
        count = torch.randint(3, 7, (batch, 1), generator=self.generator)
        opacity = opacity * (torch.arange(6) < count)[:, :, None, None]
        return list(opacity.unbind(1))

    def pieces(self, near: Tensor) -> list[Tensor]:
        """Opacities of two pieces of other scans a composite: mirrored or turned, cut, away from the digit."""
        batch, result = len(near), []
        for share in (0.8, 0.5):
            ink = self.scans.ink[torch.randint(len(self.scans.ink), (batch,), generator=self.generator)]
            centre = self.uniform(4, self.size - 4, batch, 2)
            side, turn = self.uniform(20, 30, batch), self.uniform(0, 2 * math.pi, batch)
            piece = self.place(ink, side, centre, turn, torch.zeros(batch), torch.ones(batch))
            cut = self.uniform(0, 2 * math.pi, batch)[:, None, None]
            depth = (self.columns - centre[:, 0, None, None]) * cut.cos()
            depth = depth + (self.rows - centre[:, 1, None, None]) * cut.sin()
            piece = piece * (depth - self.uniform(3, 6, batch, 1, 1)).clamp(0, 1) * (1 - near)
            result.append(piece * (self.uniform(0, 1, batch, 1, 1) < share))
        return result

    def contrasting(self, base: Tensor, least: float) -> Tensor:
        """Ink colours [B, 3, 1, 1] whose luminance differs from `base` by `least` or more."""
        luminance = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
        inks = self.uniform(0, 1, len(base), 24, 3, 1, 1)
        contrast = ((inks - base[:, None]) * luminance).sum(2).abs().flatten(1)  # [B, 24]
        first = torch.where(contrast.amax(1) >= least, (contrast >= least).int().argmax(1), contrast.argmax(1))
        return inks[torch.arange(len(base)), first]

    def paint(self, image: Tensor, opacity: Tensor, ink: Tensor) -> Tensor:
        return torch.lerp(image, ink.expand_as(image), opacity[:, None])

    def smooth(self, batch: int, channels: int, cells: int) -> Tensor:
        """Smooth noise of about unit deviation, [B, channels, 64, 64], from `cells`×`cells` random values."""
        noise = self.normal(batch, channels, cells, cells)
        return F.interpolate(noise, size=(self.size, self.size), mode="bicubic", align_corners=True)

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self.generator) * (high - low) + low

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator)


def normalise(image: Tensor) -> Tensor:
    return (image - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def hide(image: Tensor, mask: Tensor, composer: Composer) -> tuple[Tensor, Tensor]:
    """Normalised images times smooth heatmaps, and how far each still shows its ink, [B] in [0, 1]."""
    batch = len(image)
    towards = composer.uniform(-1, 3, batch, 1, 1, 1)  # heatmaps off the digit, at random, on the digit
    blob = F.adaptive_avg_pool2d(mask[:, None].float(), 8)
    heat = composer.uniform(0, 1, batch, 1, 8, 8) + towards * blob
    heat = F.interpolate(heat.relu(), size=mask.shape[1:], mode="bilinear", align_corners=False)
    low, high = heat.amin((2, 3), keepdim=True), heat.amax((2, 3), keepdim=True)
    heat = (heat - low) / (high - low).clamp(min=1e-6)
    shown = (heat[:, 0] * mask).sum((1, 2)) / mask.sum((1, 2)).clamp(min=1)
    return image * heat, (2 * shown).clamp(max=1)


class Pooled(nn.Module):
    """A head for training only: class scores of every place of the target layer, pooled smoothly over the places."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.score = nn.Conv2d(channels, len(CLASSES), 1)

    def forward(self, activations: Tensor) -> Tensor:  # [B, K, h, w] -> [B, 10]
        scores = self.score(activations).flatten(2)
        return scores.logsumexp(2) - math.log(scores.shape[2])


def train(scans: Scans, strokes: Tensor, steps: int, generator: torch.Generator) -> DigitVGG:
    """A fresh network, trained on about `steps` batches of fresh composites, in two stages.

    First the convolutions learn digits from small frames, at a third of the cost, through a head that pools over places
    and is thrown away in the end; then the whole network learns the full frame. (Trained on the full frame from the
    start, it was still at chance after 400 batches of 128.) No target tells where the digit is; masks only decide how far
    a heatmap hides it.
    """
    network = build().train()
    last = [module for module in network.features if isinstance(module, nn.Conv2d)][-1]
    pooled = Pooled(last.out_channels)
    parameters = [*network.parameters(), *pooled.parameters()]
    started = time.perf_counter()
    for size, share in ((40, 0.4), (SIZE, 0.6)):
        composer = Composer(scans, strokes, generator, size)
        stage = max(2, round(share * steps))
        optimiser = torch.optim.AdamW(parameters, lr=RATE, weight_decay=0.02)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=stage, pct_start=0.2)
        running = 0.0
        for step in range(stage):
            chosen = torch.randint(len(scans.labels), (BATCH,), generator=generator)
            image, mask = composer.draw(chosen)
            image, shown = normalise(image), torch.ones(BATCH)
            image[:MASKED], shown[:MASKED] = hide(image[:MASKED], mask[:MASKED], composer)
            certainty = ((1 - SMOOTHING) * shown)[:, None]
            target = certainty * F.one_hot(scans.labels[chosen], len(CLASSES)) + (1 - certainty) / len(CLASSES)
            maps = network.features[:-1](image)
            logits = pooled(maps)
            loss = F.cross_entropy(logits, target)
            if size == SIZE:
                logits = network.classifier(network.features[-1](maps).flatten(1))
                loss = 0.3 * loss + F.cross_entropy(logits, target)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            hits = (logits[MASKED:].argmax(1) == scans.labels[chosen][MASKED:]).float().mean().item()
            running = hits if step == 0 else 0.97 * running + 0.03 * hits
            if step % 200 == 199:
                spent = time.perf_counter() - started
                print(f"  frame {size}, step {step + 1}/{stage}: {running:.1%} right, {spent:.0f} s", flush=True)
    return network.eval()


@torch.inference_mode()
def probabilities(network: DigitVGG, image: Tensor) -> Tensor:
    """Softmax probabilities [N, 10] of images in [0, 1]."""
    return torch.cat([network(normalise(chunk)).softmax(1) for chunk in image.split(256)])


def evaluate(network: DigitVGG, image: Tensor, labels: Tensor) -> tuple[float, Tensor]:
    """Accuracy, and the probability [N] of the right class."""
    p = probabilities(network, image)
    return (p.argmax(1) == labels).float().mean().item(), p.gather(1, labels[:, None])[:, 0]


def levels(image: Tensor) -> np.ndarray:
    """An image [3, 64, 64] in [0, 1] as bytes [64, 64, 3]."""
    return (image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()


def write_images(folder: Path, image: Tensor, mask: Tensor, labels: Tensor) -> None:
    """PNGs, mask PNGs and `labels.csv`, in place of those of an earlier build."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in (*folder.glob("[0-9][0-9][0-9].png"), *folder.glob("[0-9][0-9][0-9]_mask.png")):
        old.unlink()
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as table:
        rows = csv.writer(table, lineterminator="\n")
        rows.writerow(["file", "label", "name", "mask"])
        for number, label in enumerate(labels.tolist()):
            file, mask_file = f"{number:03d}.png", f"{number:03d}_mask.png"
            Image.fromarray(levels(image[number])).save(folder / file, optimize=True)
            Image.fromarray(mask[number].numpy()).convert("1").save(folder / mask_file, optimize=True)
            rows.writerow([file, label, CLASSES[label], mask_file])


def write_sheet(path: Path, image: Tensor, columns: int = 24) -> None:
    """A contact sheet, for the eye."""
    rows = math.ceil(len(image) / columns)
    sheet = Image.new("RGB", (columns * SIZE, rows * SIZE))
    for number in range(len(image)):
        sheet.paste(Image.fromarray(levels(image[number])), (number % columns * SIZE, number // columns * SIZE))
    sheet.save(path)


def size_of(path: Path) -> int:
    """Bytes of a file, or of the files of a folder."""
    return sum(f.stat().st_size for f in path.rglob("*") if f.is_file()) if path.is_dir() else path.stat().st_size


def main(arguments: list[str] | None = None) -> int:
    """Build, measure, write; 1 where an accuracy falls short."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=WEIGHTS.parent, help="folder written to (default: the package's)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=STEPS, help="training batches (default: %(default)s)")
    parser.add_argument("--images", type=int, default=240, help="shipped images (default and most: %(default)s)")
    parser.add_argument("--held-out", type=int, default=6000, help="composites that measure accuracy")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sheet", type=Path, help="also write a contact sheet of the images here")
    parser.add_argument("--no-check", action="store_true", help="accept any accuracy")
    options = parser.parse_args(arguments)
    if not 1 <= options.images <= SHIPPED_PER_CLASS * len(CLASSES):
        parser.error(f"--images must be from 1 to {SHIPPED_PER_CLASS * len(CLASSES)}, not {options.images}")

    started, busy = time.perf_counter(), time.process_time()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    generator = torch.Generator().manual_seed(options.seed)
    training, held_out, shipped = split_scans(generator)
    print(f"scans: {len(training.labels)} training, {len(held_out.labels)} held out, {len(shipped.labels)} shipped")
    strokes = draw_strokes(STROKES, generator)

    # The images come from a generator of their own, so that they do not change with the training.
    images = Composer(shipped, strokes, torch.Generator().manual_seed(options.seed + 1))
    order = torch.arange(SHIPPED_PER_CLASS * len(CLASSES)).view(len(CLASSES), -1).T.flatten()[: options.images]
    image, mask = images.draw(order)
    labels = shipped.labels[order]
    options.out.mkdir(parents=True, exist_ok=True)
    write_images(options.out / "images", image, mask, labels)
    if options.sheet:
        write_sheet(options.sheet, image)

    network = train(training, strokes, options.steps, generator)
    weights = {name: value.detach().clone().contiguous() for name, value in network.state_dict().items()}
    save_file(weights, options.out / WEIGHTS.name)
    trained = time.perf_counter() - started

    sound = True
    for name, scans in (("training scans, fresh composites", training), ("held-out scans", held_out)):
        composer = Composer(scans, strokes, generator)
        chosen = torch.arange(options.held_out) * len(scans.labels) // options.held_out
        fresh = torch.cat([composer.draw(part)[0] for part in chosen.split(256)])
        sound &= report(name, *evaluate(network, fresh, scans.labels[chosen]))
    sound &= report("shipped images", *evaluate(network, image, labels))
    print(f"ink: {mask.float().mean():.1%} of the pixels; over the centre in {central(mask):.1%} of the images")
    folder, file = size_of(options.out / "images"), size_of(options.out / WEIGHTS.name)
    count = sum(parameter.numel() for parameter in network.parameters())
    print(f"bytes: images {folder:,}, weights {file:,} ({count:,} parameters), together {folder + file:,}")
    spent, busy = time.perf_counter() - started, time.process_time() - busy
    print(f"seconds: {trained:.0f} to build, {spent:.0f} with measuring; {busy:.0f} of CPU on {options.threads} threads")
    if not (sound or options.no_check):
        print(f"FAILED: an accuracy is under {LEAST_ACCURACY:.0%}")
        return 1
    return 0


def report(name: str, accuracy: float, right: Tensor) -> bool:
    """Print an accuracy and the distribution of the right class's probability; whether the accuracy suffices."""
    points = right.quantile(torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95])).tolist()
    spread = " ".join(f"{point:.3f}" for point in points)
    print(f"{name}: {accuracy:.2%} of {len(right)} right; p of the right class at 5 25 50 75 95%: {spread}")
    return accuracy >= LEAST_ACCURACY


def central(mask: Tensor) -> float:
    """Share of the masks [N, 64, 64] that hold the frame's centre."""
    return mask[:, SIZE // 2, SIZE // 2].float().mean().item()


if __name__ == "__main__":
    sys.exit(main())
