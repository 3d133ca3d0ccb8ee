"""Explanations whose truth is known: models that read known pixels, maps made by hand, neighbours by brute force."""

import numpy as np
import pytest
import torch
from captum.attr import LayerGradCam
from scipy.stats import spearmanr
from skimage.metrics import structural_similarity
from sklearn.manifold import trustworthiness
from torch import Tensor, nn

from selfstudy.encoder import Backbone, BackboneSpec, Encoder, Feed, build_backbone
from selfstudy.evaluation import LinearMap
from selfstudy.explain import Subject, Viewer, compare
from selfstudy.explain._attribution import half_on
from selfstudy.explain._neighbours import nearest
from selfstudy.explain._pictures import Tile, heat, sheet
from selfstudy.explain._questions import Question, about_answers, about_classes, about_rows
from selfstudy.explain.agreement import Agreement, maps_of
from selfstudy.explain.border import background_of, frame_of, shares
from selfstudy.explain.confident_mistakes import ConfidentMistakes
from selfstudy.explain.confused import Confused
from selfstudy.explain.deletion import area, curves
from selfstudy.explain.grad_cam import GradCam
from selfstudy.explain.integrated_gradients import IntegratedGradients
from selfstudy.explain.jigsaws import Jigsaws
from selfstudy.explain.map import Map
from selfstudy.explain.neighbours import Neighbours
from selfstudy.explain.occlusion import Occlusion
from selfstudy.explain.reconstructions import Reconstructions
from selfstudy.explain.saliency import Saliency
from selfstudy.explain.sanity import randomise
from selfstudy.explain.similarity import class_means
from selfstudy.images import ImageSet
from selfstudy.rng import Rng

SIDE = 8


class Flat(Backbone):
    """Features are the pixels themselves, so a classifier on them is linear in the picture."""

    def __init__(self, spec: BackboneSpec) -> None:
        super().__init__()
        self.spec, self.dim = spec, spec.channels * spec.image_size**2
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) * self.scale


def flat_viewer(images: ImageSet, weight: Tensor, bias: Tensor) -> Viewer:
    spec = BackboneSpec(name="flat", channels=1, image_size=SIDE, mean=(0.25,), std=(1.0,))
    encoder = Encoder(Flat(spec), Feed(size=SIDE, channels=1), {})
    return Viewer(name="flat", encoder=encoder, features=encoder(images.images), classifier=LinearMap(weight, bias))


def made_viewer(images: ImageSet, backbone: str = "conv4", seed: int = 0, stem: str = "small") -> Viewer:
    size = images.image_size
    spec = BackboneSpec(name=backbone, channels=images.channels, image_size=size, mean=(0.3,) * images.channels, std=(0.4,) * images.channels, stem=stem)  # type: ignore[arg-type]  # fmt: skip
    with Rng.from_seed(seed).seeding_torch():
        encoder = Encoder(build_backbone(spec), Feed(size=size, channels=images.channels), {})
        head = LinearMap(torch.randn(10, encoder.dim), torch.randn(10))
    return Viewer(name=backbone, encoder=encoder, features=encoder(images.images), classifier=head)


@pytest.fixture(scope="module")
def few(digits: ImageSet) -> ImageSet:
    return digits.select(np.arange(60))


@pytest.fixture(scope="module")
def linear(few: ImageSet) -> Viewer:
    generator = torch.Generator().manual_seed(0)
    return flat_viewer(few, torch.randn(10, SIDE * SIDE, generator=generator), torch.randn(10, generator=generator))


def subject_of(viewer: Viewer, images: ImageSet, **parts: object) -> Subject:
    return Subject(viewer=viewer, images=images, rows=torch.arange(5), **parts)  # type: ignore[arg-type]


def ask(viewer: Viewer, images: ImageSet, classes: Tensor | None = None) -> Question:
    classes = torch.tensor([0, 1, 2, 3, 4]) if classes is None else classes
    return about_classes(subject_of(viewer, images), viewer, torch.arange(5), classes)


class TestAttributions:
    def test_saliency_of_a_linear_model_is_its_weights(self, linear: Viewer, few: ImageSet):
        """Mutation: another class's weights, the features' sign kept, the gradient times the picture."""
        maps = Saliency(Saliency.Config()).maps(ask(linear, few))
        assert linear.classifier is not None
        torch.testing.assert_close(maps.flatten(1), linear.classifier.weight[:5].abs())

    def test_saliency_takes_the_largest_of_the_colours(self):
        """Mutation: the sum over the colours."""
        colours = ImageSet("c", torch.zeros(5, 3, SIDE, SIDE, dtype=torch.uint8), SIDE, *(np.array([str(n) for n in range(5)]),) * 3, classes=("a", "b"))  # fmt: skip
        spec = BackboneSpec(name="flat", channels=3, image_size=SIDE, mean=(0.5,) * 3, std=(1.0,) * 3)
        encoder = Encoder(Flat(spec), Feed(size=SIDE, channels=3), {})
        weight = torch.cat([torch.full((2, SIDE * SIDE), value) for value in (1.0, -3.0, 2.0)], dim=1)
        viewer = Viewer(name="flat", encoder=encoder, features=encoder(colours.images), classifier=LinearMap(weight, torch.zeros(2)))  # fmt: skip
        maps = Saliency(Saliency.Config()).maps(ask(viewer, colours, torch.zeros(5, dtype=torch.int64)))
        assert (maps == 3.0).all()

    def test_integrated_gradients_of_a_linear_model(self, linear: Viewer, few: ImageSet):
        """Weight times distance from the mean colour, to rounding, however few the steps. Mutation: a black baseline."""
        question = ask(linear, few)
        maps = IntegratedGradients(IntegratedGradients.Config(steps=2)).maps(question)
        assert linear.classifier is not None
        expected = linear.classifier.weight[:5] * (question.views.flatten(1) - 0.25)
        torch.testing.assert_close(maps.flatten(1), expected, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("backbone", ["conv4", "test_resnet", "test_vit"])
    def test_integrated_gradients_are_complete(self, backbone: str, few: ImageSet):
        """All pixels add up to the score less the baseline's (axiom). Mutation: the mean instead of the sum over the path."""
        question = ask(made_viewer(few, backbone), few)
        maps = IntegratedGradients(IntegratedGradients.Config(steps=256)).maps(question)
        gap = question.scores(question.views) - question.scores(question.baseline.expand_as(question.views))
        torch.testing.assert_close(maps.sum((1, 2)), gap, rtol=0.05, atol=0.05 * float(gap.abs().max()))

    def test_occlusion_finds_the_one_pixel_that_is_read(self, few: ImageSet):
        """Only squares that hide it change the score: all of them by weight x (value - mean). Mutation: black as what hides."""
        weight = torch.zeros(10, SIDE * SIDE)
        weight[:, 3 * SIDE + 4] = 2.0
        question = ask(flat_viewer(few, weight, torch.zeros(10)), few)
        maps = Occlusion(Occlusion.Config(window=1 / SIDE, stride=1 / SIDE)).maps(question)
        expected = torch.zeros(5, SIDE, SIDE)
        expected[:, 3, 4] = 2.0 * (question.views[:, 0, 3, 4] - 0.25)
        torch.testing.assert_close(maps, expected, atol=1e-5, rtol=1e-5)
        wide = Occlusion(Occlusion.Config(window=0.5, stride=0.125)).maps(question)
        assert (wide[:, 7, 0] == 0).all() and (wide[:, 3, 4].abs() > 0).all()  # no square of 4 holds both corners

    def test_grad_cam_is_captums_on_the_layer_it_finds(self, few: ImageSet):
        """Mutation: weights by the maximum, no ReLU, an earlier layer."""
        viewer = made_viewer(few, "conv4")
        question = ask(viewer, few)
        found = GradCam(GradCam.Config()).maps(question)
        layer = question.network.backbone.convolutions
        expected = LayerGradCam(question.network, layer).attribute(
            question.views, additional_forward_args=question.asked, relu_attributions=True
        )
        expected = nn.functional.interpolate(expected, size=(SIDE, SIDE), mode="bilinear", align_corners=False)[:, 0]
        torch.testing.assert_close(found, expected.detach())
        assert found.max() > 0

    def test_grad_cam_reads_the_tokens_of_a_vision_transformer(self, few: ImageSet):
        """A patch whose token alone the score reads gets all of it, with tokens row by row. Mutation: rows and columns swapped."""
        viewer = made_viewer(few, "test_vit")
        question = ask(viewer, few)
        maps = GradCam(GradCam.Config()).maps(question)
        assert maps.shape == (5, SIDE, SIDE) and maps.max() > 0
        block = question.network.backbone.model.blocks[-1].norm1
        kept: list[Tensor] = []
        hook = block.register_forward_hook(lambda module, inputs, output: kept.append(output))
        views = question.views.clone().requires_grad_()
        score = question.network(views, question.asked).sum()
        hook.remove()
        [slope] = torch.autograd.grad(score, kept)
        side = round((kept[0].shape[1] - 1) ** 0.5)
        cam = torch.stack([
            torch.stack([(kept[0][n, 1 + p] * slope[n, 1:].mean(0)).sum().relu() for p in range(side * side)]).view(side, side)
            for n in range(5)
        ])  # fmt: skip
        expected = nn.functional.interpolate(cam[:, None], size=(SIDE, SIDE), mode="bilinear", align_corners=False)[
            :, 0
        ]
        torch.testing.assert_close(maps, expected.detach())

    def test_similarity_of_a_linear_encoder(self, linear: Viewer, few: ImageSet):
        """The gradient of the cosine with a fixed picture, by hand: (u - cos * v) / |x|. Mutation: the other picture moving too."""
        subject = subject_of(linear, few)
        question = about_rows(subject, linear, torch.arange(5), torch.arange(5, 10))
        maps = Saliency(Saliency.Config()).maps(question)
        here, there = linear.features[:5], linear.features[5:10]
        v, u = (values / values.norm(dim=1, keepdim=True) for values in (here, there))
        slope = (u - (u * v).sum(1, keepdim=True) * v) / here.norm(dim=1, keepdim=True)
        torch.testing.assert_close(maps.flatten(1), slope.abs(), rtol=1e-4, atol=1e-6)

    def test_a_class_without_labels_has_no_explanation_and_does_no_harm(self, linear: Viewer, few: ImageSet):
        """Mutation: -inf minus -inf."""
        assert linear.classifier is not None
        weight, bias = linear.classifier.weight.clone(), linear.classifier.bias.clone()
        weight[3], bias[3] = 0.0, -torch.inf
        maps = Occlusion(Occlusion.Config()).maps(ask(flat_viewer(few, weight, bias), few))
        assert (maps[3] == 0).all() and torch.isfinite(maps).all()

    def test_half_on(self):
        """Alike everywhere: half; all on one pixel: that pixel. Mutation: signed values."""
        maps = torch.zeros(4, 4, 4)
        maps[0], maps[1, 2, 3], maps[2, 0, :2] = -2.0, 5.0, torch.tensor([1.0, -1.0])
        assert half_on(maps).tolist() == [0.5, 1 / 16, 1 / 16, 0.5]

    def test_what_is_asked_without_a_classifier_is_the_nearest_image(self, linear: Viewer, few: ImageSet):
        bare = Viewer(name="bare", encoder=linear.encoder, features=linear.features)
        question = about_answers(subject_of(bare, few), bare, torch.arange(5))
        places, cosines = nearest(linear.features, torch.arange(5), few.groups, 1)
        torch.testing.assert_close(question.scores(question.views), cosines[:, 0])
        assert question.names == tuple(few.ids[places[:, 0].numpy()])


class TestAgreement:
    def test_equal_maps_agree_in_full(self):
        """Whatever their units and signs. Mutation: no scaling, no absolute value."""
        maps = torch.randn(3, 9, 9, generator=torch.Generator().manual_seed(0))
        found = compare(maps, -7 * maps)
        assert found["rmse"] == pytest.approx(0, abs=1e-7)
        assert found["ssim"] == pytest.approx(1) and found["rank"] == pytest.approx(1)

    def test_measures_are_the_libraries(self):
        generator = torch.Generator().manual_seed(0)
        first, second = (torch.rand(1, 9, 11, generator=generator) for _ in range(2))
        one, other = ((values[0] / values.max()).double().numpy() for values in (first, second))
        found = compare(first, second)
        assert found["rmse"][0] == pytest.approx(float(np.sqrt(((one - other) ** 2).mean())))
        assert found["ssim"][0] == pytest.approx(structural_similarity(one, other, data_range=1.0))
        assert found["rank"][0] == pytest.approx(spearmanr(one.ravel(), other.ravel()).statistic)

    def test_flat_and_tiny_maps_have_numbers(self):
        """Mutation: NaN from a correlation of constants, an error from a window larger than the map."""
        zero, some = torch.zeros(1, 4, 4), torch.rand(1, 4, 4, generator=torch.Generator().manual_seed(0))
        assert compare(zero, zero)["rank"][0] == 1.0 and compare(zero, some)["rank"][0] == 0.0
        assert np.isfinite(compare(some, zero)["ssim"]).all()
        assert compare(some[:, :2, :2], some[:, :2, :2])["ssim"][0] == 1.0

    def test_a_model_and_itself_and_its_twin(self, few: ImageSet):
        """The same encoder agrees in full, another seed's does not, and the sentence says which. Mutation: other and twin swapped."""
        one, two = made_viewer(few, seed=0), made_viewer(few, seed=1)
        found = Agreement(Agreement.Config(method="saliency")).explain(subject_of(one, few, other=one, twin=two))
        assert found.numbers["rank"] == pytest.approx(1) and found.numbers["rmse"] == pytest.approx(0, abs=1e-7)
        assert found.numbers["floor_rank"] < 0.9 and "as much as two seeds of conv4" in found.sentence
        back = Agreement(Agreement.Config(method="saliency")).explain(subject_of(one, few, other=two, twin=one))
        assert back.numbers["rank"] == pytest.approx(found.numbers["floor_rank"]) and "less than" in back.sentence

    def test_both_are_asked_for_the_images_class(self, linear: Viewer, few: ImageSet):
        """Mutation: each asked for what it says itself."""
        assert linear.classifier is not None and few.labels is not None
        turned = flat_viewer(few, linear.classifier.weight.flip(0), linear.classifier.bias.flip(0))
        maps = maps_of(subject_of(linear, few), [linear, turned], Saliency(Saliency.Config()))
        labels = few.labels[:5]
        torch.testing.assert_close(maps[0].flatten(1), linear.classifier.weight[labels].abs())
        torch.testing.assert_close(maps[1].flatten(1), linear.classifier.weight[9 - labels].abs())


class TestBorder:
    def test_a_uniform_map_has_the_areas_share(self):
        """Mutation: the share of the sum of signed values."""
        maps = torch.ones(2, 16, 16)
        maps[1, :4] = -1.0
        frame = np.stack([frame_of(16, 16, 0.125)] * 2)
        assert frame.mean() == pytest.approx(1 - (12 / 16) ** 2)
        assert shares(maps, frame) == pytest.approx(frame.mean((1, 2)))

    def test_all_inside_and_all_outside(self):
        maps = torch.zeros(2, 16, 16)
        maps[0, 8, 8], maps[1, 0, 8] = 1.0, 1.0
        assert shares(maps, np.stack([frame_of(16, 16, 0.125)] * 2)).tolist() == [0.0, 1.0]

    def test_an_object_on_plain_ground(self):
        """Whatever is lighter. Mutation: the darker part as background."""
        for ground, thing in ((10, 240), (240, 10)):
            picture = np.full((20, 20, 3), ground, dtype=np.uint8)
            picture[5:12, 6:15] = thing
            expected = np.ones((20, 20), dtype=bool)
            expected[5:12, 6:15] = False
            assert np.array_equal(background_of(picture), expected)
        assert background_of(np.full((9, 9, 3), 7, dtype=np.uint8)).all()


class TestNeighbours:
    def test_by_brute_force(self):
        """Cosine, not the product; a row's own group left out. Mutation: no unit length, itself as neighbour."""
        random = np.random.default_rng(0)
        features, groups = (
            random.normal(size=(40, 6)) * random.uniform(0.1, 9, (40, 1)),
            np.array([str(n // 2) for n in range(40)]),
        )
        unit = features / np.linalg.norm(features, axis=1, keepdims=True)
        places, cosines = nearest(torch.from_numpy(features).float(), torch.arange(40), groups, 3)
        for row in range(40):
            order = sorted((n for n in range(40) if groups[n] != groups[row]), key=lambda n: -unit[n] @ unit[row])[:3]
            assert places[row].tolist() == order
            assert cosines[row].numpy() == pytest.approx([unit[n] @ unit[row] for n in order], abs=1e-6)

    def test_too_few_images_leave_gaps(self):
        places, _ = nearest(torch.eye(3), torch.arange(3), np.array(["a", "a", "b"]), 2)
        assert places.tolist() == [[2, -1], [2, -1], [0, 1]]

    def test_chance_is_that_of_random_pairs(self, linear: Viewer, few: ImageSet):
        """Counted over all pairs of two images. Mutation: one over the number of classes."""
        assert few.labels is not None
        found = Neighbours(Neighbours.Config()).run(subject_of(linear, few))
        labels = few.labels.tolist()
        pairs = [labels[i] == labels[j] for i in range(60) for j in range(60) if i != j]
        assert found.numbers["chance"] == pytest.approx(np.mean(pairs))
        table = found.table
        assert found.numbers["same_class"] > found.numbers["chance"]
        assert len(table) == 25 and (table["rank"].tolist() == [1, 2, 3, 4, 5] * 5)

    def test_a_class_mean_leaves_the_image_itself_out(self, linear: Viewer, few: ImageSet):
        """Mutation: its own features among those averaged."""
        assert few.labels is not None
        means, names = class_means(subject_of(linear, few), torch.tensor([7]))
        unit = nn.functional.normalize(linear.features, dim=1)
        others = [n for n in range(60) if few.labels[n] == few.labels[7] and n != 7]
        torch.testing.assert_close(means[0], unit[others].mean(0))
        assert names == (few.classes[int(few.labels[7])],)


class TestMistakes:
    def answers(self, few: ImageSet) -> tuple[Tensor, list[int]]:
        """All right and sure, but four images of class 7: three say 9 (0.99, 0.6, 0.95 sure), one says 8 (0.7 sure)."""
        assert few.labels is not None
        rows = torch.nonzero(few.labels == 7)[:4, 0].tolist()
        found = nn.functional.one_hot(few.labels, 10).float()
        for row, (said, sure) in zip(rows, [(9, 0.99), (9, 0.6), (9, 0.95), (8, 0.7)], strict=True):
            found[row] = (1 - sure) / 9
            found[row, said] = sure
        return found, rows

    def test_confident_mistakes_come_in_order(self, linear: Viewer, few: ImageSet):
        """Mutation: the least sure first, right answers among them."""
        answers, rows = self.answers(few)
        subject = subject_of(linear, few, judged_rows=torch.arange(60), answers=answers)
        found = ConfidentMistakes(ConfidentMistakes.Config(count=3)).explain(subject)
        assert found.table["id"].tolist() == [few.ids[rows[n]] for n in (0, 2, 3)]
        assert found.numbers == {"num_judged": 60, "num_wrong": 4, "num_sure": 2}

    def test_confused_counts_ordered_pairs(self, linear: Viewer, few: ImageSet):
        """Mutation: i called j and j called i added up; the share of all images instead of the class's."""
        assert few.labels is not None
        answers, _ = self.answers(few)
        found = Confused(Confused.Config()).explain(
            subject_of(linear, few, judged_rows=torch.arange(60), answers=answers)
        )
        sevens = int((few.labels == 7).sum())
        assert found.table.to_dict("list") == {
            "label": ["7", "7"], "answer": ["9", "8"], "num_images": [3, 1], "num_of_class": [sevens, sevens],
            "share": [pytest.approx(3 / sevens), pytest.approx(1 / sevens)],
        }  # fmt: skip

    def test_nothing_wrong_is_said(self, linear: Viewer, few: ImageSet):
        assert few.labels is not None
        right = nn.functional.one_hot(few.labels, 10).float()
        subject = subject_of(linear, few, judged_rows=torch.arange(60), answers=right)
        for kind in (Confused, ConfidentMistakes):
            assert kind(kind.Config()).explain(subject).sentence == "None of the 60 images judged is named wrongly."


class TestDeletion:
    def test_curves_of_a_known_model(self, few: ImageSet):
        """Two classes, two pixels read: the score is a known step. Mutation: the least important pixels first."""
        weight = torch.zeros(2, SIDE * SIDE)
        weight[1, 9], weight[1, 30] = 40.0, 20.0
        images = ImageSet("w", torch.full((2, 1, SIDE, SIDE), 255, dtype=torch.uint8), SIDE, *(np.array(["a", "b"]),) * 3, classes=("no", "yes"))  # fmt: skip
        viewer = flat_viewer(images, weight, torch.tensor([0.0, -30.0]))
        subject = Subject(viewer=viewer, images=images, rows=torch.arange(2))
        question = about_classes(subject, viewer, torch.arange(2), torch.ones(2, dtype=torch.int64))
        maps = torch.zeros(2, SIDE, SIDE)
        maps.view(2, -1)[:, 9], maps.view(2, -1)[:, 30] = 2.0, 1.0
        gone, come = curves(question, maps, SIDE * SIDE)

        def probability(first: float, second: float) -> float:
            return 1 / (1 + np.exp(-(40 * first + 20 * second - 30)))

        assert gone[0, [0, 1, 2, -1]] == pytest.approx([probability(1, 1), probability(0.25, 1), probability(0.25, 0.25), probability(0.25, 0.25)])  # fmt: skip
        assert come[1, [0, 1, 2, -1]] == pytest.approx([probability(0.25, 0.25), probability(1, 0.25), probability(1, 1), probability(1, 1)])  # fmt: skip
        assert area(np.array([1.0, 1.0, 0.0])) == pytest.approx(0.75)


class TestSanity:
    def test_a_network_forgets_from_the_last_layer_on(self, few: ImageSet):
        """Each stage changes later layers only; at the end no weight is left. Mutation: from the first layer on."""
        viewer = made_viewer(few)
        question = ask(viewer, few)
        before = {name: value.clone() for name, value in question.network.backbone.state_dict().items()}
        names = []
        for stage in randomise(question.network, 4, Rng.from_seed(1)):
            names.append(stage)
            if stage == "25 % of layers":
                state = question.network.backbone.state_dict()
                assert torch.equal(state["convolutions.0.weight"], before["convolutions.0.weight"])
                assert not torch.equal(state["convolutions.9.weight"], before["convolutions.9.weight"])
        after = question.network.backbone.state_dict()
        changed = [name for name in before if name.startswith("convolutions") and before[name].ndim == 4]
        assert names[0] == "classifier" and names[-1] == "100 % of layers" and len(changed) == 4
        assert not any(torch.equal(before[name], after[name]) for name in changed)
        assert torch.equal(
            viewer.encoder.backbone.state_dict()["convolutions.0.weight"], before["convolutions.0.weight"]
        )


class TestMap:
    @pytest.mark.parametrize("layout", ["tsne", "pca", "umap"])
    def test_trustworthiness_is_scikit_learns(self, layout: str, digits: ImageSet):
        """Of the cosine's features and the plane that is given. Mutation: the plane's arguments swapped."""
        some = digits.select(np.arange(120))
        weight = torch.zeros(10, 64)
        found = Map(Map.Config(layout=layout)).run(subject_of(flat_viewer(some, weight, torch.zeros(10)), some))  # type: ignore[arg-type]
        values = some.images.flatten(1).double().numpy()
        unit = values / np.linalg.norm(values, axis=1, keepdims=True)
        expected = trustworthiness(unit, found.table[["x", "y"]].to_numpy(), n_neighbors=10)
        assert found.numbers["trustworthiness"] == pytest.approx(expected, abs=1e-6) and expected > 0.8
        assert found.table["id"].tolist() == some.ids.tolist()


class TestShown:
    def test_drawings_are_off_by_their_error(self, linear: Viewer, few: ImageSet):
        """51 of 255 levels off is 0.2. Mutation: the mean squared error without the root."""
        original = few.images[:3]
        shown = {"original": original, "drawn": (original.int() + 51).clamp(max=255).byte()}
        shown["original"] = shown["drawn"].int().sub(51).clamp(min=0).byte()
        found = Reconstructions(Reconstructions.Config()).explain(subject_of(linear, few, shown=shown))
        assert found.numbers["error"] == pytest.approx(0.2) and len(found.table) == 3
        mean = shown["original"].float().mean(0) / 255
        errors = (shown["original"].float() / 255 - mean).square().flatten(1).mean(1).sqrt()
        assert found.numbers["error_of_mean"] == pytest.approx(float(errors.mean()))

    def test_jigsaws_are_solved_if_every_tile_is_back(self, linear: Viewer, few: ImageSet):
        """Mutation: any tile instead of all."""
        in_order = few.images[:2]
        shuffled = in_order.roll(4, 3)
        put_back = in_order.clone()
        put_back[1, :, :4] = put_back[1, :, :4].flip(2)
        found = Jigsaws(Jigsaws.Config()).explain(
            subject_of(linear, few, shown={"in order": in_order, "shuffled": shuffled, "put back": put_back})
        )
        assert found.table["solved"].tolist() == [1, 0] and found.sentence.startswith("It puts 1 of 2")


def test_heat_is_orange_for_and_blue_against():
    """Mutation: the colours swapped."""
    maps = torch.tensor([[[1.0, -1.0], [0.0, 0.0]]])
    [picture] = heat(torch.zeros(1, 1, 2, 2), maps)
    assert picture[0, 0, 0] > picture[0, 0, 2] and picture[0, 1, 2] > picture[0, 1, 0]
    assert len(set(picture[1, 0].tolist())) == 1


def test_a_sheet_holds_every_tile():
    """Mutation: a row left out, one written over another."""
    tiles = [
        [Tile(np.full((8, 8, 3), 40 * row + 10 * column + 5, dtype=np.uint8)) for column in range(3)]
        for row in range(2)
    ]
    pixels = sheet(tiles)
    for row in range(2):
        for column in range(3):
            alike = (pixels[:, :, :3] == 40 * row + 10 * column + 5).all(2) & (pixels[:, :, 3] == 255)
            assert alike.sum() == 72 * 72
