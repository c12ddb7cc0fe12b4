"""Saliency metrics: one number for each (heatmap, image), with a direction and bounds.

A metric is one function in one file of `kinds/`, registered by `sycam.metrics.metric.register_metric`; `own/` has those of a
person's own. `sycam.metrics.own.find.find_metric` finds either.
"""
