"""Energies computed a second time, by a program that shares no code with the package.

stdin: {"model_path", "llama_options", "items": [{"prompt_ids", "answer_ids"}]} as JSON.
stdout: one object of lists an item. Rows are read straight from the context, token by token;
all arithmetic is in float64 and follows the definitions, not the package.
"""

import json
import sys

import numpy as np


def rows_of(llm, prompt_ids, answer_ids):
    """T + 1 rows: the row that chose each answer token, and the row after the last one."""
    llm.reset()
    llm.eval(prompt_ids)
    rows = [current_row(llm)]
    for token in answer_ids:
        llm.eval([token])
        rows.append(current_row(llm))
    return rows


def current_row(llm):
    pointer = llm._ctx.get_logits_ith(-1)
    return np.array([pointer[k] for k in range(llm.n_vocab())], dtype=np.float64)


def log_sum_exp(row):
    top = row.max()
    return float(top + np.log(np.exp(row - top).sum()))


def row_entropy(row):
    p = np.exp(row - log_sum_exp(row))
    p = p[p > 0]
    return float(-(p * np.log(p)).sum())


def top_two_gap(row):
    second, first = np.sort(row)[-2:]
    return float(first - second)


def measure(rows, answer_ids):
    lse = [log_sum_exp(row) for row in rows]
    mean = [float(row.mean()) for row in rows]
    out = {"log_partition": lse, "row_mean": mean}
    per_token = {}
    for t, token in enumerate(answer_ids):
        chosen = float(rows[t][token])
        after, mean_after = lse[t + 1], mean[t + 1]
        numbers = {
            "token_logit": chosen,
            "entropy": row_entropy(rows[t]),
            "margin": top_two_gap(rows[t]),
            "nll": -(chosen - lse[t]),
            "logit_energy": -chosen,
            "marginal_energy": -after,
            "spilled_energy": -chosen + after,
            "scaled_spilled_energy": abs(-after) * (-chosen + after),
            "centred_logit_energy": -(chosen - mean[t]),
            "centred_marginal_energy": -(after - mean_after),
            "centred_spilled_energy": -(chosen - mean[t]) + (after - mean_after),
        }
        for name, value in numbers.items():
            per_token.setdefault(name, []).append(value)
    return out | per_token


def main():
    import llama_cpp  # the arithmetic above serves other engines, too

    job = json.load(sys.stdin)
    llm = llama_cpp.Llama(job["model_path"], verbose=False, **job["llama_options"])
    results = []
    for item in job["items"]:
        rows = rows_of(llm, item["prompt_ids"], item["answer_ids"])
        results.append(measure(rows, item["answer_ids"]))
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main()
