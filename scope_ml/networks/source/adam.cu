// One step of Adam for every parameter of every model (`reference.adam_step`). `rates` is (models of the launch,
// steps of the epoch), `epsilons` and `amsgrad` are by model of the session; AMSGRAD: 0 where no model has it.

extern "C" __global__ void __launch_bounds__(THREADS)
adam(const int *models, int n_parameters, int n_steps, int step, const float *rates, const float *epsilons,
     const int *amsgrad, const float *gradients, float *first, float *second, float *largest, float *parameters) {
    const int a = blockIdx.y, model = models[a], p = blockIdx.x * THREADS + threadIdx.x;
    if (p >= n_parameters) return;
    const long long at = (long long)model * n_parameters + p;
    const float gradient = gradients[at];
    const float m = first[at] + (gradient - first[at]) * (float)(1.0 - 0.9);
    float v = second[at] + (gradient * gradient - second[at]) * (float)(1.0 - 0.999);
    first[at] = m;
    second[at] = v;
#if AMSGRAD
    const float most = fmaxf(largest[at], v);
    largest[at] = most;
    if (amsgrad[model]) v = most;
#endif
    parameters[at] -= rates[(long long)a * n_steps + step] * m / (sqrtf(v) + epsilons[model]);
}
