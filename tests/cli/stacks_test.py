"""Models that run as stacks, published families and descriptions, through every command that takes a model."""
import array
import json
import os
import unittest

import harness
from harness import CliTest, golden, read_npy, read_safetensors

FOLDERS = ("stack-filters", "stack-links", "stack-mixed", "stu-approx", "stu-full", "h3", "stripedhyena1", "stripedhyena1-evo",
           "stripedhyena2", "stripedhyena2-bf16")


def example(name):
    return os.path.join(harness.SOURCE, "examples", name)


class Stacks(CliTest):
    def ids(self, values):
        return self.write("ids", " ".join(map(str, values)))

    def configured(self, name, **fields):
        """A copy of a golden model whose config says something else."""
        folder = self.copy_model(golden(name), name)
        with open(golden(name + "/config.json")) as file:
            config = json.load(file)
        with open(os.path.join(folder, "config.json"), "w") as file:
            json.dump({**config, **fields}, file)
        return folder

    def test_logits_and_greedy_continuations(self):
        for name in FOLDERS:
            header, data = read_safetensors(golden(name + "/reference.safetensors"))
            begin, end = header["input_ids"]["data_offsets"]
            ids = array.array("q", data[begin:end])
            begin, end = header["logits"]["data_offsets"]
            wanted = array.array("d", data[begin:end])
            with open(golden(name + "/greedy.json")) as file:
                known = json.load(file)
            for extra in ([], ["--step"]):
                with self.subTest(name=name, extra=extra):
                    self.ok("logits", "--model", golden(name), "--tokens", self.ids(ids), "--output", "l.npy", *extra)
                    shape, got = read_npy(self.path("l.npy"))
                    self.assertEqual(list(shape), header["logits"]["shape"])
                    self.assertLess(max(abs(a - b) for a, b in zip(got, wanted)), 1e-4)
            with self.subTest(name=name):
                done = self.ok("generate", "--model", golden(name), "--prompt-tokens", self.ids(known["prompt_tokens"]),
                               "--temperature", 0, "--max-new-tokens", len(known["greedy_tokens"]), "--format",
                               "tokens", "--quiet")
                self.assertEqual(list(map(int, done.stdout.split())), known["greedy_tokens"])

    def test_own_model_from_the_examples(self):
        """Its greedy tokens are PyTorch's (examples/own-model/compare.py)."""
        folder = example("own-model/model")
        with open(os.path.join(folder, "greedy.json")) as file:
            known = json.load(file)
        for extra in ([], ["--latency", "flat"], ["--method", "lazy", "--threads", "1"]):
            done = self.ok("generate", "--model", folder, "--prompt-tokens", self.ids(known["prompt_tokens"]),
                           "--temperature", 0, "--max-new-tokens", len(known["greedy_tokens"]), "--format", "tokens",
                           "--quiet", *extra)
            self.assertEqual(list(map(int, done.stdout.split())), known["greedy_tokens"])
        # And what has to do with text.
        self.ok("generate", "--model", folder, "--prompt", "abc", "--max-new-tokens", 5, "--seed", 3)
        scored = self.ok("score", "--model", folder, self.write("a.fa", ">x\nACGTACGT\n")).stdout.decode()
        self.assertEqual(scored.split("\n")[1].split("\t")[:3], ["x", "8", "7"])
        self.ok("embed", "--model", folder, self.path("a.fa"), "--output", "e.npy", "--layer", "1")
        self.assertEqual(read_npy(self.path("e.npy"))[0], (1, 16))

    def test_a_saved_session_says_it_all(self):
        command = ["generate", "--model", golden("stack-mixed"), "--temperature", 0, "--format", "tokens", "--quiet",
                   "--prompt-tokens", self.ids([1, 2, 3]), "--max-new-tokens", 20]
        whole = self.ok(*command).stdout
        self.assertEqual(self.ok(*command, "--save-session", "s").stdout, whole)
        self.assertEqual(self.ok(*command, "--resume", "s").stdout, whole)

    def test_inspect_draws_the_stack(self):
        text = self.ok("inspect", "--model", golden("stripedhyena2"), "--length", 64).stdout.decode()
        for wanted in ("stripedhyena2", "block 0, Hyena SE", "block 3, attention", "x + (RMS norm; x2 x1 v = linear input"):
            self.assertIn(wanted, text)
        report = json.loads(self.ok("inspect", "--model", golden("stack-mixed"), "--json").stdout)
        self.assertEqual(report["family"], "lcsm-stack")
        self.assertIn("block 2, mamba", report["details"])

    def test_plan_says_what_is_shared_across_layers(self):
        text = self.ok("plan", "--model", golden("stack-filters")).stdout.decode()
        self.assertRegex(text, r"mixer \d+: .*across layers.*\(group 0\)")
        self.assertIn("at once", text)
        self.assertIn("schedule", json.loads(self.ok("plan", "--model", golden("stack-filters"), "--json").stdout))

    def test_plan_of_a_model_without_long_convolutions(self):
        text = self.ok("plan", "--model", golden("stack-mixed")).stdout.decode()
        self.assertIn("at once", text)
        self.assertNotIn("group", text)
        self.fails(1, "plan", "--model", golden("stack-mixed"), "--measure", says=["--measure", "no long convolutions"])

    def test_filters_that_the_sequence_makes_follow_the_options(self):
        model = ["--model", golden("stack-relaxed")]
        with open(golden("stack-relaxed/greedy.json")) as file:
            known = json.load(file)
        generate = ["generate", *model, "--prompt-tokens", self.ids(known["prompt_tokens"]), "--temperature", 0,
                    "--max-new-tokens", len(known["greedy_tokens"]), "--format", "tokens", "--quiet"]
        for extra, by in (([], "planned: "), (["--method", "lazy"], "lazy"), (["--method", "paper"], "paper: "),
                          (["--tau", "direct"], "paper: direct U="), (["--schedule", "per-layer"], "in order")):
            with self.subTest(extra=extra):
                done = self.ok(*generate, *extra)
                self.assertEqual(list(map(int, done.stdout.split())), known["greedy_tokens"])
                for told in (self.ok("plan", *model, *extra), self.ok(*generate, "--dry-run", *extra)):
                    self.assertRegex(told.stdout.decode(), "mixer 1: relaxed convolution, 16 channels, by .*" + by)
        for extra, says in ((["--method", "eager"], "by the method eager: expected lazy, paper or planned"),
                            (["--method", "gardner"], "by the method gardner: expected lazy, paper or planned"),
                            (["--latency", "flat"], "cannot spread its work over the steps to come: expected the latency best"),
                            (["--tau", "fft-library"], "direct, direct-blocked or fft-fused; found")):
            for command in (generate, [*generate, "--dry-run"], ["plan", *model]):
                with self.subTest(extra=extra, command=command):
                    self.fails(1, *command, *extra, says=["stack-relaxed: mixer 1: ", says])

    def test_states_of_all_mixers_count_against_the_memory_limit(self):
        for name, mixer in (("stack-relaxed", "relaxed convolution"), ("stack-mixed", "softmax attention")):
            folder = self.configured(name, max_length=1 << 20)
            run = ["generate", "--model", folder, "--prompt-tokens", self.ids([1, 2, 3]), "--max-new-tokens", 1 << 19,
                   "--format", "tokens", "--quiet"]
            with self.subTest(name=name):
                for command in (run, [*run, "--dry-run"], ["plan", "--model", folder]):
                    text = self.fails(1, *command, "--memory-limit", "20M", says=[mixer, "the memory limit"])
                    self.assertRegex(text, r"iB.*iB")

    def test_long_prompts_go_through_matrices_of_their_own(self):
        folder = self.configured("stack-mixed", max_length=1000)
        ids = [(t * t + t // 7) % 18 for t in range(400)]
        run = ["generate", "--model", folder, "--temperature", 0, "--max-new-tokens", 20, "--format", "tokens", "--quiet"]
        text = self.ok(*run, "--prompt-tokens", self.ids(ids), "--dry-run").stdout.decode()
        self.assertIn("known tokens", text)
        self.assertNotRegex(self.ok(*run, "--prompt-tokens", self.ids(ids[:200]), "--dry-run").stdout.decode(), r"known tokens +\d.*bytes")
        # What is computed anew by steps.
        logits = {}
        for extra in ([], ["--step"]):
            self.ok("logits", "--model", folder, "--tokens", self.ids(ids), "--output", "l.npy", *extra)
            logits[len(extra)] = read_npy(self.path("l.npy"))[1]
        self.assertLess(max(abs(a - b) for a, b in zip(logits[0], logits[1])), 1e-4)

    def test_a_wrong_description_is_one_sentence_with_its_path(self):
        folder = self.copy_model(golden("stack-mixed"))
        with open(golden("stack-mixed/config.json")) as file:
            config = json.load(file)
        step = config["blocks"][1]["parts"][0]["steps"][3]
        for change, says in (({"heads": 3}, "blocks.1.parts.0.steps.3.heads is 3"),
                             ({"causal": False}, "blocks.1.parts.0.steps.3 is not causal"),
                             ({"do": "atention"}, "blocks.1.parts.0.steps.3.do is \"atention\"")):
            with self.subTest(change=change):
                config["blocks"][1]["parts"][0]["steps"][3] = {**step, **change}
                with open(os.path.join(folder, "config.json"), "w") as file:
                    json.dump(config, file)
                self.fails(1, "inspect", "--model", folder, says=[says, "config.json"])

    def test_a_layer_that_the_config_does_not_call_for(self):
        folder = self.configured("h3", n_layer=2)
        self.fails(1, "inspect", "--model", folder, says="backbone.layers.2.")


if __name__ == "__main__":
    unittest.main()
