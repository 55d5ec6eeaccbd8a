/* SPDX-License-Identifier: Apache-2.0
 *
 * getters.c - table.getter(column): a function of a key that returns one column's value, or a field
 * of its document.
 *
 * The function is a built-in function object bound to a Getter, because the interpreter calls those
 * with the least ado. What is asked for mostly, a row of the shape that the getter knows, is read
 * into a row of the library that the getter keeps, and no Row object is made.
 */
#include "native.h"

struct getter_object {
    PyObject_HEAD struct table_object *table;
    PyObject *name;
    const struct shape *shape; /* of `column` */
    size_t column;
    const char *path;   /* of a field, kept by `name`; NULL: it is a column */
    struct sp_row *row; /* NULL while it is in use, and always without the GIL */
};

/* The column, or NULL without an exception: to be found out the general way. Making a value may run
 * Python code, which may call this getter: it finds no row then. */
static PyObject *column_quick(struct getter_object *bound, PyObject *object)
{
    struct table_object *table = bound->table;
    struct sp_row *row = bound->row;
    struct sp_value value;
    struct key key;
    if (UNLIKELY(row == NULL || table->snapshot != NULL ||
                 atomic_load_explicit(&table->pond->closed, memory_order_relaxed)))
        return NULL;
    if (UNLIKELY(key_encode(table, bound->shape, -1, object, &key) != KEY_OK)) {
        PyErr_Clear();
        return NULL;
    }
    PyObject *result = NULL;
    bound->row = NULL;
    if (LIKELY(sp_get_row_encoded(table->table, key.data, key.size, row) == SP_OK &&
               sp_row_schema(row) == bound->shape->schema)) {
        int status = bound->path != NULL ? sp_row_field(row, bound->path, &value)
                                         : sp_row_column_at(row, bound->column, &value);
        if (LIKELY(status == SP_OK))
            result = value_to_python(table->state, &value);
        else if (bound->path != NULL && status == SP_ENOTFOUND)
            result = Py_NewRef(Py_None);
    }
    bound->row = row;
    key_release(&key);
    return result;
}

static PyObject *column_of(struct getter_object *bound, struct row_object *row)
{
    if (bound->path != NULL) {
        PyObject *const args[] = {bound->name, Py_None};
        return row_field((PyObject *)row, args, 2);
    }
    if (LIKELY(row->shape == bound->shape))
        return row_column(row, bound->column);
    return PyObject_GetItem((PyObject *)row, bound->name);
}

static PyObject *getter_call(PyObject *self, PyObject *key)
{
    struct getter_object *bound = (struct getter_object *)self;
    PyObject *row, *quick = column_quick(bound, key);
    if (LIKELY(quick != NULL || PyErr_Occurred()))
        return quick;
    enum key_result result = table_read(bound->table, key, &row);
    if (UNLIKELY(result != KEY_OK))
        return result == KEY_ABSENT ? Py_NewRef(Py_None) : NULL;
    PyObject *value = column_of(bound, (struct row_object *)row);
    Py_DECREF(row);
    return value;
}

static PyMethodDef getter_function = {"getter", getter_call, METH_O,
                                      "The value of one column of the row with this key, or None."};

/* The column that is called so, or the path of a field: a column wins. */
static int getter_bind(struct getter_object *bound, PyObject *name)
{
    PyObject *position = dict_get(bound->shape->positions, name);
    if (position != NULL) {
        bound->column = PyLong_AsSize_t(position);
        Py_DECREF(position);
        return 0;
    }
    if (PyErr_Occurred())
        return -1;
    if (bound->shape->has_document && PyUnicode_Check(name)) {
        bound->path = field_path(name);
        return bound->path != NULL ? 0 : -1;
    }
    PyObject *class = PyDict_GetItemString(bound->table->state->errors, "SP_ENOCOLUMN");
    PyErr_Format(class != NULL ? class : PyExc_KeyError, "table %U has no column %R",
                 bound->table->name, name);
    return -1;
}

PyObject *table_getter(PyObject *self, PyObject *name)
{
    struct table_object *table = (struct table_object *)self;
    const struct shape *shape = table_usable(table) ? table_shape(table) : NULL;
    if (shape == NULL)
        return NULL;
    struct getter_object *bound = PyObject_New(struct getter_object, table->state->getter_type);
    if (bound == NULL)
        return NULL;
    bound->table = (struct table_object *)Py_NewRef(self);
    bound->name = Py_NewRef(name);
    bound->shape = shape;
    bound->column = 0;
    bound->path = NULL;
#if defined(Py_GIL_DISABLED)
    bound->row = NULL;
#else
    bound->row = sp_row_new(); /* NULL, if there is no memory: the general way, always */
#endif
    PyObject *function = NULL;
    if (getter_bind(bound, name) == 0)
        function = PyCFunction_New(&getter_function, (PyObject *)bound);
    Py_DECREF((PyObject *)bound);
    return function;
}

static void getter_dealloc(PyObject *self)
{
    struct getter_object *bound = (struct getter_object *)self;
    PyTypeObject *type = Py_TYPE(self);
    sp_row_free(bound->row);
    Py_XDECREF(bound->name);
    Py_XDECREF((PyObject *)bound->table);
    PyObject_Free(self);
    Py_DECREF((PyObject *)type);
}

static PyType_Slot getter_slots[] = {{Py_tp_dealloc, getter_dealloc}, {0, NULL}};

static PyType_Spec getter_spec = {
    .name = "sidepond._native.Getter",
    .basicsize = sizeof(struct getter_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = getter_slots,
};

int getter_type_init(PyObject *module, struct state *state)
{
    return type_init(module, &getter_spec, &state->getter_type);
}
