// The piece of work that all kernels share. Put before every other source. No header is included anywhere: the run-time
// compiler has none.

struct Task {            // `gpu.tasks.TASK` on the host, field by field
    double frequency;    // of the first value [1/d]
    double step;         // [1/d]
    double real[4];      // what the method wants to know of the light curve
    long long out;       // place of the first value in the buffer
    int count;           // values to compute
    int point;           // first point of the light curve
    int n_points;
    int row;             // light curve of this launch
    int whole[4];        // what the method wants to know of the light curve
};

struct Peak {
    float value;
    int index;  // on the grid
};
