/* C[i] = A[i] + B[i] for i < n; n need not be a multiple of the work-group size. */

__kernel __attribute__((reqd_work_group_size(64, 1, 1)))
void vadd(__global const float *restrict A, __global const float *restrict B, __global float *restrict C,
          const uint n)
{
    const size_t i = get_global_id(0);
    if (i < n)
        C[i] = A[i] + B[i];
}
