"""Registers splat with nerfbaselines, so that its protocols train and measure it.

pip install nerfbaselines .          (nerfbaselines asks for numpy below 2)
export PYTHONPATH=bench/nerfbaselines NERFBASELINES_REGISTER=bench/nerfbaselines/splat_spec.py
nerfbaselines train --method splat --data external://blender/lego --backend python
"""

from nerfbaselines import register

register(
    {
        "id": "splat",
        "method_class": "splat_method:Splat",
        "backends_order": ["python"],
        "metadata": {
            "name": "splat",
            "description": "3D Gaussian Splatting with strategies that can be swapped and composed,"
            " on CUDA or on the CPU.",
            "licenses": [{"name": "Apache 2.0"}],
        },
        "presets": {
            "mcmc": {"recipe": "mcmc"},
            "adc": {"recipe": "adc"},
            "scaffold": {"recipe": "scaffold"},
            # The number of the 3DGS-MCMC figures there.
            "blender": {"@apply": [{"dataset": "blender"}], "cap": 325_000},
        },
        "implementation_status": {"blender": "working", "mipnerf360": "working"},
    }
)
